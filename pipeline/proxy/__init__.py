"""Train tiny language models on a subsample and log what each text does to them."""
