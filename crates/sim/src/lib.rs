//! Host 1: a whole federation in one process.
