package main

import (
	"embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-chi/chi/v5"
)

//go:embed web
var web embed.FS

// The clients that the page loads: one ES module each, and heymanito's own,
// which is several.
const (
	clientFile  = "socket.io.esm.min.js"
	livekitFile = "livekit-client.esm.mjs"
	typedFile   = "core.js"
)

// contentSecurity lets the page load what this server serves, talk to LiveKit,
// and nothing that somebody wrote into a message: no inline scripts, no other
// hosts, no HTML made of strings. Photos are blobs.
func contentSecurity(livekitURL string) string {
	talk := ""
	if u, err := url.Parse(livekitURL); err == nil && u.Host != "" { // its client asks over HTTP why it cannot connect
		talk = " http://" + u.Host
		if u.Scheme == "wss" || u.Scheme == "https" {
			talk = " https://" + u.Host
		}
	}
	return "default-src 'self'; connect-src 'self' ws: wss:" + talk + "; img-src 'self' blob:; " +
		"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
}

// newPage serves the page, and the clients that it loads.
func newPage(s *settings, livekitURL string) http.Handler {
	for _, ext := range []string{".js", ".mjs"} {
		_ = mime.AddExtensionType(ext, "text/javascript; charset=utf-8") // whatever the machine believes
	}
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a literal
	}
	r := chi.NewRouter()
	r.Use(headers(contentSecurity(livekitURL)))
	for name, dir := range map[string]string{clientFile: s.client, livekitFile: s.livekit.client} {
		for _, name := range []string{name, name + ".map"} {
			r.Get("/client/"+name, serveClient(dir, name))
		}
	}
	r.Get("/client/heymanito/{name:[a-z]+\\.js(?:\\.map)?}", func(w http.ResponseWriter, r *http.Request) {
		serveClient(s.typed, chi.URLParam(r, "name"))(w, r)
	})
	r.Get("/*", func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p != "/" && strings.HasSuffix(p, "/") {
			http.NotFound(w, r) // not the listing of a directory
			return
		}
		http.FileServerFS(files).ServeHTTP(w, r)
	})
	return r
}

// serveClient serves a file of a client's, if that is there.
func serveClient(dir, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if dir == "" {
			http.Error(w, name+" is not installed: run make setup", http.StatusNotFound)
			return
		}
		http.ServeFile(w, r, filepath.Join(dir, name))
	}
}

func headers(policy string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			next.ServeHTTP(w, r)
		})
	}
}

// installed is where make setup puts a package: in example/, in which the
// program may be started, too.
func installed(pkg string) []string {
	dir := filepath.Join("node_modules", pkg, "dist")
	return []string{filepath.Join("example", dir), dir}
}

// built is where make setup builds heymanito's own client.
func built() []string {
	dir := filepath.Join("clients", "js", "dist")
	return []string{dir, filepath.Join("..", dir)}
}

// findClient returns the directory that has file: the one that flag says, or the
// first of dirs. It returns "" when it is in none.
func findClient(flag, said, file string, dirs []string) (dir string, err error) {
	if said != "" {
		dirs = []string{said}
	}
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Mode().IsRegular() {
			return dir, nil
		}
	}
	if said != "" {
		return "", fmt.Errorf("%s %s: there is no %s in it", flag, said, file)
	}
	return "", nil
}
