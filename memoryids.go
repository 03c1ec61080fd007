package heymanito

import "hash/maphash"

// memoryIDs finds entries by their thread and id. It is a map of hashes: the
// newest entry that has one, and from there on by sameHash. A map of the names
// themselves takes twice the time and the room.
type memoryIDs struct {
	seed maphash.Seed
	memoryMap[uint64, *memoryEntry]
}

func (m *memoryIDs) hash(thread *memoryThread, id string) uint64 {
	return thread.salt ^ maphash.String(m.seed, id)
}

// memoryPlace is where an id is, or would be.
type memoryPlace struct {
	hash   uint64
	newest *memoryEntry // nil: none has the hash
}

func (m *memoryIDs) place(thread *memoryThread, id string) memoryPlace {
	h := m.hash(thread, id)
	return memoryPlace{h, m.of[h]}
}

// find returns the newest entry of that id from e on, or nil.
func (e *memoryEntry) find(thread *memoryThread, id string) *memoryEntry {
	for e != nil && (e.thread != thread || e.id != id) {
		e = e.sameHash
	}
	return e
}

func (m *memoryIDs) add(e *memoryEntry, at memoryPlace) {
	e.sameHash = at.newest
	m.set(at.hash, e)
}

// remove takes e out, if it is in.
func (m *memoryIDs) remove(e *memoryEntry) {
	h := m.hash(e.thread, e.id)
	switch first := m.of[h]; {
	case first == nil:
	case first != e:
		for at := first; at.sameHash != nil; at = at.sameHash {
			if at.sameHash == e {
				at.sameHash = e.sameHash
				return
			}
		}
	case e.sameHash != nil:
		m.of[h] = e.sameHash
	default:
		m.delete(h)
	}
}
