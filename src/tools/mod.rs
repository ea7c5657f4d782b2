//! The only rooms that start a program or open a socket.
