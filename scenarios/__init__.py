"""The scenarios, a module each: an experiment that shows whether ion keeps its promises under some trouble."""
