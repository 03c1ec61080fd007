package heymanito

import (
	"context"
	"encoding/json"
	"time"
)

// Rooms opens the rooms in which calls talk, at a media server; package livekit
// implements it. Implementations are safe for concurrent use.
type Rooms interface {
	// Token lets one participant into one room. It is called when a call is
	// accepted or a token is asked for, and waits for nothing: all that is to
	// happen to that call waits for it. An error is answered as CodeInternal.
	Token(g RoomGrant) (RoomToken, error)
	// Watch is called once, by [New], with the function that is told what the
	// media server says of its rooms. An event may come late, twice and out of
	// order; one that is answered with an error comes again.
	Watch(told func(ctx context.Context, e RoomEvent) error)
}

// RoomGrant is what a [RoomToken] allows: to join exactly this room, as exactly
// this participant.
type RoomGrant struct {
	Room     string          // never empty
	Identity string          // of the participant, one for each device: the user's chatPath and the device's name, both in base64url, and a dot between them
	Media    string          // "audio": microphone only; anything else: camera and screen as well
	Metadata json.RawMessage // what the others are told of the participant: the callerInfo, if it has no more than 4 KB; may be nil
}

// RoomToken is what a client needs to join a room.
type RoomToken struct {
	Token   string
	URL     string    // of the media server, as clients reach it
	Expires time.Time // until then it lets somebody join
}

// RoomEvent is something that has happened in a room.
type RoomEvent struct {
	Kind     RoomEventKind
	Room     string
	Identity string    // of the participant; empty for RoomFinished
	Session  string    // of the participant: another one each time he joins; empty for RoomFinished
	Time     time.Time // at the media server, whole seconds; zero if it does not say
}

// RoomEventKind says what has happened.
type RoomEventKind string

// The kinds of a [RoomEvent].
const (
	ParticipantJoined RoomEventKind = "participant_joined"
	ParticipantLeft   RoomEventKind = "participant_left"
	RoomFinished      RoomEventKind = "room_finished"
)
