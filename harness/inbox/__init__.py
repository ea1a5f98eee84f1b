"""The inbox: captured mail for people, in the terminal and the browser, and for programs."""
