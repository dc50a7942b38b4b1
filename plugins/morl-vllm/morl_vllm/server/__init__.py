"""What runs beside the trainer: a rollout server, which is vLLM's own with morl's authentication and routes."""
