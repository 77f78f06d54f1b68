"""What people see in a WebUI."""
