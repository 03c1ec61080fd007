// Package socketio is a Socket.IO 5 server on top of engineio, as published in the
// Socket.IO protocol document, version 5 (github.com/socketio/socket.io-protocol).
//
// Events and acks are scanned as spans of bytes, so that what clients say to
// each other travels byte for byte; the other packets go through the library's
// codec. What an event means is decided by the layer above: in the main namespace
// by a [Host], in the others by [Others], if there are any.
package socketio
