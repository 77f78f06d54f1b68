"""What AUTOMATIC1111's WebUI and Forge have in common; nothing here imports either."""
