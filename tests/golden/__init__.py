"""What the inference containers' own code answered, and the recipe of the tiny models that it was asked with."""
