package livekit

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/heymanito/heymanito"
)

const (
	// maxBody is how big a webhook may be: LiveKit's are a few KB.
	maxBody = 1 << 20
	// maxToken bounds what is read of the Authorization header.
	maxToken = 4 << 10
)

// webhookClaims is the payload of the token that signs a webhook.
type webhookClaims struct {
	jwt.RegisteredClaims
	SHA256 string `json:"sha256"`
}

// webhook is the part of a webhook that is of interest, in the JSON mapping of
// livekit.WebhookEvent.
type webhook struct {
	ID    string `json:"id"`
	Event string `json:"event"`
	Room  struct {
		Name string `json:"name"`
	} `json:"room"`
	Participant struct {
		Identity string `json:"identity"`
		SID      string `json:"sid"`
	} `json:"participant"`
	CreatedAt seconds `json:"createdAt"`
}

// seconds is a time as protojson writes an int64: a string; or a number.
type seconds int64

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("createdAt: %w", err)
	}
	*s = seconds(n)
	return nil
}

// WebhookHandler returns the handler that LiveKit posts its webhooks to: put
// its address under webhook.urls, and the key given to [New] under
// webhook.api_key. It may be mounted under any path.
//
// A webhook counts only with a valid signature of its body. It is answered 200
// when it was taken, known already, or is of no interest; 401 when it is not
// signed as it must be; 400 and 413 when it is no webhook; and 503 when it
// cannot be taken now: LiveKit sends those again.
func (l *LiveKit) WebhookHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "webhooks are posted", http.StatusMethodNotAllowed)
			return
		}
		hash, err := l.verify(r.Header.Get("Authorization")) // before anything else of a stranger's is read
		if err != nil {
			l.refuse(w, r, err)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			if _, big := errors.AsType[*http.MaxBytesError](err); big {
				http.Error(w, "the webhook is too big", http.StatusRequestEntityTooLarge)
			} else {
				http.Error(w, "the body cannot be read", http.StatusBadRequest)
			}
			return
		}
		if is := sha256.Sum256(body); subtle.ConstantTimeCompare(hash, is[:]) != 1 {
			l.refuse(w, r, errors.New("the claim sha256 is not the hash of the body"))
			return
		}
		var hook webhook
		if err := json.Unmarshal(body, &hook); err != nil {
			l.log.WarnContext(r.Context(), "a webhook cannot be read", "err", err)
			http.Error(w, "not a webhook", http.StatusBadRequest)
			return
		}
		if err := l.take(r, &hook); err != nil {
			l.log.ErrorContext(r.Context(), "a webhook could not be taken, it will come again", "event", hook.Event, "err", err)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// refuse answers a webhook that is not signed as it must be. Anybody can post
// such: one a minute is logged.
func (l *LiveKit) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if more, log := l.refused.count(time.Now()); log {
		l.log.WarnContext(r.Context(), "a webhook was refused", "remote", r.RemoteAddr, "err", err, "more", more)
	}
	http.Error(w, "the signature is not valid", http.StatusUnauthorized)
}

// refusals counts what is not logged.
type refusals struct {
	mu   sync.Mutex // guards the rest
	last time.Time  // when one was logged
	more int        // since then
}

const refusalsEvery = time.Minute

// count counts a refusal; log: it is to be logged, with how many more there were
// since the last one.
func (c *refusals) count(now time.Time) (more int, log bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last) < refusalsEvery {
		c.more++
		return 0, false
	}
	more, c.more, c.last = c.more, 0, now
	return more, true
}

// verify checks the Authorization header, a JWT of the key's, and returns the
// hash of the body that it signs.
func (l *LiveKit) verify(header string) (hash []byte, err error) {
	if len(header) > maxToken {
		return nil, errors.New("the token is too long")
	}
	var c webhookClaims
	if _, err = l.parser.ParseWithClaims(strings.TrimPrefix(header, "Bearer "), &c, func(*jwt.Token) (any, error) { return l.secret, nil }); err != nil {
		return nil, err
	}
	if hash, err = base64.StdEncoding.DecodeString(c.SHA256); err != nil {
		return nil, fmt.Errorf("the claim sha256: %w", err)
	}
	return hash, nil
}

// take tells of a webhook, if it is one to tell of, and was not told before.
func (l *LiveKit) take(r *http.Request, hook *webhook) error {
	e := heymanito.RoomEvent{Kind: heymanito.RoomEventKind(hook.Event), Room: hook.Room.Name}
	switch e.Kind {
	case heymanito.ParticipantJoined, heymanito.ParticipantLeft:
		if e.Identity, e.Session = hook.Participant.Identity, hook.Participant.SID; e.Identity == "" {
			return nil
		}
	case heymanito.RoomFinished:
	default:
		return nil
	}
	if e.Room == "" || l.seen.has(hook.ID) {
		return nil
	}
	if hook.CreatedAt != 0 {
		e.Time = time.Unix(int64(hook.CreatedAt), 0)
	}
	told := l.told.Load()
	if told == nil {
		return errors.New("livekit: nobody watches the rooms: give this LiveKit to heymanito.WithRooms")
	}
	if err := (*told)(r.Context(), e); err != nil {
		return err
	}
	l.seen.add(hook.ID) // only now: what failed may come again
	return nil
}
