"""The local emulator and the test bench that ion is proved on."""
