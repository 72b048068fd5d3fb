"""Grid worlds with orientation, beams and time-outs, in which apples grow back."""
