"""Small tasks, and tiny policies made on the spot that can learn them: morl without a download or a GPU."""
