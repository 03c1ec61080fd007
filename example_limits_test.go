package heymanito_test

import (
	"context"
	"fmt"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
)

// Every bound and every time is a setting, and the defaults suit most hosts. This
// is a small machine, whose users have slow links.
func ExampleNew_settings() {
	rt := heymanito.New(quiet,
		// What one client may cost.
		heymanito.WithMaxPayload(256<<10), // photos are uploaded elsewhere
		heymanito.WithMaxQueue(1<<20),     // for a device that does not read
		heymanito.WithMaxDevices(10),      // of one user

		// Clients that are not let in yet.
		heymanito.WithHandshakeLimits(20*time.Second, 16<<10, 8),
		heymanito.WithMaxHandshakes(100, 2000),

		// How long a link may be silent.
		heymanito.WithHeartbeat(30*time.Second, 30*time.Second),
		heymanito.WithClientTimeout(90*time.Second),
		heymanito.WithWriteTimeout(60*time.Second),
		heymanito.WithOfflineGrace(15*time.Second),
	)
	defer rt.Shutdown(context.Background())
	// Output:
}

// Who sends faster than that is read slowly at first, and is refused if he goes on.
// A Rate of zero is no bound.
func ExampleWithRates() {
	rt := heymanito.New(quiet, heymanito.WithRates(
		heymanito.Rate{PerSecond: 0.01, Burst: 3}, // of one device
		heymanito.Rate{PerSecond: 0.02, Burst: 5}, // of all devices of one user
	))
	app := serve(rt)
	defer app.close()

	ann := app.connect("ann")
	for range 4 {
		ack := ann.Ask("getCalls")
		fmt.Printf("%s %q\n", ack.Status, ack.Code)
	}
	// Output:
	// ok ""
	// ok ""
	// ok ""
	// error "rate_limited"
}

// Nobody is told of a page that is loaded again, or of a phone that changes from
// one network to another: its user stays online for so long.
func ExampleWithOfflineGrace() {
	rt := heymanito.New(quiet, heymanito.WithOfflineGrace(10*time.Second))
	app := serve(rt)
	defer app.close()

	ann, bob := app.connect("ann"), app.connect("bob")
	ann.Expect("contact_online")
	bob.Cut() // and not a word
	app.connect("bob")
	ann.ExpectNone("contact_offline")
	ann.ExpectNone("contact_online")
	// Output:
}

// One device more than that, and the oldest is closed: it comes back, and closes
// the next, until somebody logs out of one.
func ExampleWithMaxDevices() {
	rt := heymanito.New(quiet, heymanito.WithMaxDevices(1))
	app := serve(rt)
	defer app.close()

	phone := app.connect("ann", heymanitotest.Auth("deviceId", "phone"))
	app.connect("ann", heymanitotest.Auth("deviceId", "laptop"))
	fmt.Println(phone.ExpectEnd())
	fmt.Println(rt.Devices("ann")[0].DeviceID)
	// Output:
	// 1008 too many devices
	// laptop
}
