//! The command line: arguments, one file for each command, and the only room that prints.
