package heymanito

import "maps"

// memoryList is a list of things that have their links in them.
type memoryList[T any] struct{ first, last *T }

type memoryLinks[T any] struct{ prev, next *T }

func (l *memoryList[T]) push(x *T, links func(*T) *memoryLinks[T]) {
	if l.last == nil {
		l.first = x
	} else {
		links(l.last).next = x
	}
	links(x).prev = l.last
	l.last = x
}

func (l *memoryList[T]) remove(x *T, links func(*T) *memoryLinks[T]) {
	at := links(x)
	if at.prev == nil {
		l.first = at.next
	} else {
		links(at.prev).next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		links(at.next).prev = at.prev
	}
	*at = memoryLinks[T]{}
}

// memoryMap is a map that shrinks: Go's keep for ever what they have grown to.
type memoryMap[K comparable, V any] struct {
	of   map[K]V
	most int // since it was made
}

func (m *memoryMap[K, V]) set(k K, v V) {
	if m.of == nil {
		m.of = make(map[K]V)
	}
	m.of[k] = v
	m.most = max(m.most, len(m.of))
}

func (m *memoryMap[K, V]) delete(k K) {
	delete(m.of, k)
	if n := len(m.of); m.most > 1000 && n < m.most/2 {
		of := make(map[K]V, n)
		maps.Copy(of, m.of)
		m.of, m.most = of, n
	}
}
