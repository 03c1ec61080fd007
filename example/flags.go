package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/heymanito/heymanito"
)

// settings is what the flags say.
type settings struct {
	addr     string
	insecure bool
	client   string // a directory; "": there is none
	typed    string // likewise, heymanito's own
	livekit  livekitSettings
	drain    time.Duration
	data     string                // where the inbox is; "": in memory
	noInbox  bool                  // nothing is kept
	bounds   heymanito.InboxBounds // of the inbox
	options  []heymanito.Option    // only those whose flag was given
}

// shutdownTime is how long the end may take: the drain, and time to say goodbye.
func (s *settings) shutdownTime() time.Duration { return s.drain + 10*time.Second }

// parseFlags reads the command line. The defaults in the usage are the
// package's own; an option whose flag is not given is not passed at all.
func parseFlags(args []string, usage io.Writer) (*settings, error) {
	f := flag.NewFlagSet("example", flag.ContinueOnError)
	f.SetOutput(usage)
	given := map[string]bool{}
	s := &settings{}

	f.StringVar(&s.addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 takes a free one")
	f.BoolVar(&s.insecure, "insecure", false, "trust the userId of every client: no login, for tools and tests")
	client := f.String("client", "", "`directory` of socket.io-client's ESM bundle (default: where make setup puts it)")
	typed := f.String("heymanito-client", "", "`directory` of heymanito's client as clients/js builds it (default: where make setup does)")
	origins := f.String("origins", "", "comma-separated `origins` whose pages may connect, besides this server's own")
	transports := f.String("transports", "polling,websocket", "comma-separated `transports`")

	pingInterval := f.Duration("ping-interval", 20*time.Second, "how often a client is pinged")
	pingTimeout := f.Duration("ping-timeout", 20*time.Second, "how long it may then be silent")
	clientTimeout := f.Duration("client-timeout", 40*time.Second, "pingTimeout that clients are told; twice -ping-timeout if not given")
	writeTimeout := f.Duration("write-timeout", 30*time.Second, "how long a write may make no progress")
	grace := f.Duration("offline-grace", 5*time.Second, "how long a user whose connection broke counts as online")
	f.DurationVar(&s.drain, "drain", 5*time.Second, "over how much time a shutdown spreads its closes")

	f.BoolVar(&s.livekit.off, "no-livekit", false, "calls are signalling alone. Without this flag LiveKit is the one\n"+
		"that LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET say, or is started beside this program")
	f.StringVar(&s.livekit.server, "livekit-server", "", "the LiveKit server's `program` (default: where make setup puts it)")
	f.StringVar(&s.livekit.client, "livekit-client", "", "`directory` of livekit-client's ESM bundle (default: where make setup puts it)")
	ringTimeout := f.Duration("ring-timeout", 45*time.Second, "how long a call rings")
	callerReturn := f.Duration("caller-return", 10*time.Second, "how long a call rings on for a caller whose connection broke")
	connectTimeout := f.Duration("connect-timeout", 2*time.Minute, "how long a call that was answered may show no sign of life")
	peerReturn := f.Duration("peer-return", 15*time.Second, "how long a call goes on without one of the two")
	callMemory := f.Duration("call-memory", time.Minute, "how long a call that has ended is known")
	longestCall := f.Duration("longest-call", 24*time.Hour, "when a call ends that nothing else has ended")
	ringsPerPair := f.Int("rings-per-pair", 6, "how often a minute one user may call another")
	ringsPerCaller := f.Int("rings-per-caller", 20, "how often a minute one user may call anybody")

	f.StringVar(&s.data, "data", "", "`directory` in which messages for who is away survive a restart (default: in memory)")
	f.BoolVar(&s.noInbox, "no-inbox", false, "keep nothing for who is away")
	f.IntVar(&s.bounds.Entries, "inbox-entries", 10_000, "entries kept for one user")
	f.IntVar(&s.bounds.Bytes, "inbox-bytes", 16_000_000, "`bytes` kept for one user")
	f.DurationVar(&s.bounds.Age, "inbox-age", 30*24*time.Hour, "how long they are kept")
	f.IntVar(&s.bounds.Total, "inbox-total", 0, "`bytes` kept for all users; 0: 256 MB in memory, 1 GB with -data")

	deviceRate := f.Float64("device-rate", 100, "events a second that are handled of one device; 0: no bound")
	deviceBurst := f.Int("device-burst", 500, "events of one device at once")
	userRate := f.Float64("user-rate", 200, "events a second that are handled of all devices of one user; 0: no bound")
	userBurst := f.Int("user-burst", 1000, "events of all devices of one user at once")
	expiryNotice := f.Duration("expiry-notice", 30*time.Second, "how long before its login ends a device is told")

	maxPayload := f.Int("max-payload", 1_000_000, "`bytes` of an event, attachments included")
	maxQueue := f.Int("max-queue", 4<<20, "`bytes` queued for a device that does not read")
	maxDevices := f.Int("max-devices", 50, "connected devices of one user")

	handshakeTime := f.Duration("handshake-timeout", 10*time.Second, "how long a client may take to be let in")
	handshakeBytes := f.Int("handshake-bytes", 64<<10, "`bytes` it may send meanwhile")
	handshakeEvents := f.Int("handshake-events", 16, "events that are held meanwhile")
	perAddress := f.Int("max-handshakes-per-address", 10_000, "handshakes at a time from one address")
	handshakes := f.Int("max-handshakes", 20_000, "handshakes at a time in all")

	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q? There are only flags, see -h", f.Arg(0))
	}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := s.checkInbox(given); err != nil {
		return nil, err
	}
	if err := s.livekit.find(); err != nil {
		return nil, err
	}

	option := func(o heymanito.Option, names ...string) {
		for _, name := range names {
			if given[name] {
				s.options = append(s.options, o)
				return
			}
		}
	}
	option(heymanito.WithOrigins(list(*origins)...), "origins")
	option(heymanito.WithTransports(list(*transports)...), "transports")
	option(heymanito.WithHeartbeat(*pingInterval, *pingTimeout), "ping-interval", "ping-timeout")
	option(heymanito.WithClientTimeout(*clientTimeout), "client-timeout")
	option(heymanito.WithWriteTimeout(*writeTimeout), "write-timeout")
	option(heymanito.WithOfflineGrace(*grace), "offline-grace")
	option(heymanito.WithDrain(s.drain), "drain")
	option(heymanito.WithCallTimes(heymanito.CallTimes{
		Ring: *ringTimeout, CallerReturn: *callerReturn, Connect: *connectTimeout,
		PeerReturn: *peerReturn, Memory: *callMemory, Longest: *longestCall,
	}), "ring-timeout", "caller-return", "connect-timeout", "peer-return", "call-memory", "longest-call")
	option(heymanito.WithRingLimits(*ringsPerPair, *ringsPerCaller), "rings-per-pair", "rings-per-caller")
	option(heymanito.WithRates(rate(*deviceRate, *deviceBurst), rate(*userRate, *userBurst)),
		"device-rate", "device-burst", "user-rate", "user-burst")
	option(heymanito.WithExpiryNotice(*expiryNotice), "expiry-notice")
	option(heymanito.WithMaxPayload(*maxPayload), "max-payload")
	option(heymanito.WithMaxQueue(*maxQueue), "max-queue")
	option(heymanito.WithMaxDevices(*maxDevices), "max-devices")
	option(heymanito.WithHandshakeLimits(*handshakeTime, *handshakeBytes, *handshakeEvents),
		"handshake-timeout", "handshake-bytes", "handshake-events")
	option(heymanito.WithMaxHandshakes(*perAddress, *handshakes), "max-handshakes-per-address", "max-handshakes")

	var err error
	if s.client, err = findClient("-client", *client, clientFile, installed("socket.io-client")); err != nil {
		return nil, err
	}
	if s.typed, err = findClient("-heymanito-client", *typed, typedFile, built()); err != nil {
		return nil, err
	}
	return s, try(s.options)
}

// rate is the Rate of two flags.
func rate(perSecond float64, burst int) heymanito.Rate {
	if perSecond == 0 {
		return heymanito.Rate{} // however many at once
	}
	return heymanito.Rate{PerSecond: perSecond, Burst: burst}
}

// checkInbox refuses what the flags about the inbox cannot mean.
func (s *settings) checkInbox(given map[string]bool) error {
	if given["data"] && s.data == "" {
		return errors.New("-data: which directory?")
	}
	for _, name := range []string{"data", "inbox-entries", "inbox-bytes", "inbox-age", "inbox-total"} {
		if s.noInbox && given[name] {
			return fmt.Errorf("-no-inbox keeps nothing, and -%s says how", name)
		}
	}
	if s.bounds.Entries <= 0 || s.bounds.Bytes <= 0 || s.bounds.Age <= 0 || s.bounds.Total < 0 {
		return errors.New("-inbox-entries, -inbox-bytes and -inbox-age must be more than 0, and -inbox-total not less; -no-inbox keeps nothing")
	}
	return nil
}

// try turns what New has to say about an option, a panic since an option is
// mostly a literal, into an error: here it comes from the command line.
func try(options []heymanito.Option) error {
	return tried(func() { // it starts nothing
		heymanito.New(append(slices.Clip(options), heymanito.WithLogger(slog.New(slog.DiscardHandler)))...)
	})
}

func tried(f func()) (err error) {
	defer func() {
		if said := recover(); said != nil {
			err = errors.New(fmt.Sprint(said))
		}
	}()
	f()
	return nil
}

// list splits what is separated by commas.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
