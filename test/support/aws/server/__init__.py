"""The stand-in's own process: moto's server behind a front, and the handlers of what moto lacks."""
