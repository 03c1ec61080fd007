// Package engineio is an Engine.IO 4 server: handshake, WebSocket, HTTP
// long-polling, the upgrade from one to the other, heartbeats and close, as
// published in the Engine.IO protocol document, version 4
// (github.com/socketio/engine.io-protocol).
//
// It knows nothing of what a message means. Data comes up through a [Handler],
// one call at a time for each [Socket], and goes down through [Socket.Send],
// which never blocks.
package engineio
