"""What is done with a classified frame."""
