"""A model of what the library must hold, and the means to kill, damage and starve a real `index`."""
