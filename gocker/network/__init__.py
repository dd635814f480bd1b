"""Networks as data: which there are, who has which address and name, what is published."""
