"""What is shown today, in words, numbers and figures: what there is to show, how it is caught, and how it is kept."""
