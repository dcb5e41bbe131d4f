"""What every option of every rule computes today: which cases there are, their numbers, and how they are recorded."""
