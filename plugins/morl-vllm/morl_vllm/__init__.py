"""vLLM as a rollout backend of morl.  Importing this package does not import vLLM."""
