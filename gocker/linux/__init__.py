"""BACK: the kernel, one function per system call; the only importer of ctypes."""
