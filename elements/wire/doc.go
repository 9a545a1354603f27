// Package wire is the sources for frames that come over a socket: WebSocket, TCP and
// Unix sockets, with the messages of browser/FORMAT.md. A payload is read straight
// into the place in the ring from which the graph takes it; what becomes of it from
// there on is package shmsrc. There is no cgo here.
package wire
