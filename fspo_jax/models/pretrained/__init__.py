"""Where a pretrained model is: every way of naming one becomes a directory of Hugging Face files."""
