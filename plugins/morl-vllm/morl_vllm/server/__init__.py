"""What runs beside the trainer: a rollout server, which is vLLM's own with a door of morl's in front of it."""
