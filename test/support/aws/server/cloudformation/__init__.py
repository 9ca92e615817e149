"""CloudFormation of our own: moto's creates at once, has no events, and calls everything complete."""
