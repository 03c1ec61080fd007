// Package jwkstest is a module of its own, so that hosts do not pay for what it
// needs: it shows, and tests, how [middleware.JWT] goes with an issuer that
// publishes its keys as a JWK Set and changes them while the program runs.
package jwkstest
