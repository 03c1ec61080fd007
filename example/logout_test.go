package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/heymanito/heymanito/internal/wiretest"
)

// logOut posts to /logout and returns the status and how many devices it ended.
func logOut(t *testing.T, url, authorization string) (status, devices int) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Devices int `json:"devices"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer.Devices
}

func TestLogout(t *testing.T) {
	url, _ := start(t)
	key := token(t, url, "ana")
	ana, ana2 := wiretest.Connect(t, url, "ana", auth(key)), wiretest.Connect(t, url, "ana", auth(key))
	luis := wiretest.Connect(t, url, "luis", auth(token(t, url, "luis")))
	for _, wrong := range []string{"", "Bearer x", "Bearer " + key + "x"} {
		if status, _ := logOut(t, url+"/logout?userId=ana", wrong); status != http.StatusUnauthorized {
			t.Errorf("with Authorization %.12q: %d", wrong, status)
		}
	}
	if status, devices := logOut(t, url+"/logout?userId=luis", "Bearer "+key); status != http.StatusOK || devices != 2 {
		t.Errorf("answered %d, %d devices", status, devices)
	}
	for _, c := range []*wiretest.Client{ana, ana2} {
		if e := c.Expect("sessionEnded"); e.String() != `sessionEnded({"code":"logged_out"})` {
			t.Error(e)
		}
	}
	luis.Sync()
}

func TestLogoutInsecure(t *testing.T) {
	url, _ := start(t, "-insecure")
	eva := wiretest.Connect(t, url, "eva")
	if status, devices := logOut(t, url+"/logout?userId=eva", ""); status != http.StatusOK || devices != 1 {
		t.Errorf("answered %d, %d devices", status, devices)
	}
	eva.Expect("sessionEnded")
}
