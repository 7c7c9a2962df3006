"""What can be done with a picture that is there: the buttons under it, the message menu, and the commands of the same names."""
