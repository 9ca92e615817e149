"""Does a finished image boot, does it work as its user expects, and is it clean?"""
