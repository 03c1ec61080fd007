package main

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-chi/chi/v5"
)

//go:embed web
var web embed.FS

// clientFile is the stock Socket.IO client, one ES module.
const clientFile = "socket.io.esm.min.js"

// contentSecurity lets the page load what this server serves, and nothing that
// somebody wrote into a message: no inline scripts, no other hosts, no HTML
// made of strings. Photos are blobs.
const contentSecurity = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob:; " +
	"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// newPage serves the page, and from the directory client the Socket.IO client.
func newPage(client string) http.Handler {
	_ = mime.AddExtensionType(".js", "text/javascript; charset=utf-8") // whatever the machine believes
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a literal
	}
	r := chi.NewRouter()
	r.Use(headers)
	for _, name := range []string{clientFile, clientFile + ".map"} {
		r.Get("/client/"+name, func(w http.ResponseWriter, r *http.Request) {
			if client == "" {
				http.Error(w, "socket.io-client is not installed: run make setup", http.StatusNotFound)
				return
			}
			http.ServeFile(w, r, filepath.Join(client, name))
		})
	}
	r.Get("/*", func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; p != "/" && strings.HasSuffix(p, "/") {
			http.NotFound(w, r) // not the listing of a directory
			return
		}
		http.FileServerFS(files).ServeHTTP(w, r)
	})
	return r
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// findClient returns the first directory that has the Socket.IO client, and ""
// when none has.
func findClient(dirs ...string) string {
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(dir, clientFile)); err == nil && info.Mode().IsRegular() {
			return dir
		}
	}
	return ""
}
