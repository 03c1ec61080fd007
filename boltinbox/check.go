package boltinbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// errForeign is what a file is refused with that is not ours.
var errForeign = errors.New("the file is not an inbox of this version")

func foreign(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errForeign, fmt.Sprintf(format, args...))
}

// checkFile reads a file through before bbolt uses it: bbolt believes what it
// reads, and where that is wrong it panics, on goroutines of its own too, or
// does not come to an end.
func checkFile(path string) (*loader, error) {
	f, err := os.Open(path) //nolint:gosec // G304: the host says which file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, foreign("it is not a regular file")
	} else if info.Size() == 0 {
		return nil, damaged("it is empty")
	}
	// This reads nothing but the heads of the file, and keeps others from
	// writing.
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout, NoStatistics: true})
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, foreign("%s", err)
	case errors.Is(err, berrors.ErrChecksum):
		return nil, damaged("its head is not what was written")
	case err != nil:
		return nil, err
	}
	defer func() { _ = db.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c := &checker{file: f, size: uint64(info.Size()), loader: &loader{state: newState()}}
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.loader, nil
}

// How bbolt lays out its pages.
const (
	pageHead   = 16 // id uint64, flags uint16, count uint16, overflow uint32
	pageElem   = 16 // of a branch: pos, size uint32, page uint64; of a leaf: flags, pos, size, value's size uint32
	branchPage = 1
	leafPage   = 2
	freePage   = 16
	bucketElem = 1
	bucketHead = 16 // root, sequence uint64
	boltMagic  = 0xED0CDAED
	noFreelist = ^uint64(0)
	maxDepth   = 64
	headLength = 64 // magic, version, page size, flags uint32, root 16, freelist, pages, id, checksum uint64
)

// checker goes through all pages that are in use.
type checker struct {
	file     io.ReaderAt
	size     uint64 // of the file
	pageSize uint64
	pages    uint64 // that are or were in use
	seen     []uint64
	buffers  [][]byte // one for each depth
	last     []byte   // the key before
	loader   *loader
}

func (c *checker) run() error {
	root, freelist, err := c.heads()
	if err != nil {
		return err
	}
	if c.pages > c.size/c.pageSize {
		return damaged("it is cut off: %d bytes, and %d are in use", c.size, c.pages*c.pageSize)
	}
	c.seen = make([]uint64, c.pages/64+1)
	if freelist != noFreelist {
		if err := c.freelist(freelist); err != nil {
			return err
		}
	}
	found := map[string][]byte{}
	err = c.tree(root, func(k, v []byte, flags uint32) error {
		if flags == bucketElem && len(v) >= bucketHead {
			found[string(k)] = bytes.Clone(v)
		} else {
			found[string(k)] = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, ours := found[metaBucket]; !ours {
		return foreign("it has other things in it")
	}
	for _, name := range bucketNames() { // the version is in the first
		v := found[name]
		if v == nil {
			return damaged("it has no %s", name)
		}
		if err := c.bucket(name, v); err != nil {
			return err
		}
	}
	if len(found) > len(bucketNames()) {
		return damaged("it has strange things in it")
	}
	return c.loader.done()
}

func (c *checker) bucket(name string, v []byte) error {
	each := func(k, v []byte, flags uint32) error {
		if flags != 0 {
			return damaged("%q in %s is not a value", k, name)
		}
		return c.loader.value(name, k, v)
	}
	if root := binary.NativeEndian.Uint64(v); root != 0 {
		return c.tree(root, each)
	}
	c.last = nil
	return c.leaf(v[bucketHead:], nil, nil, each)
}

// heads reads the two heads of the file. The newer one counts, of those that
// were written completely: a crash may have torn the other, with which nothing
// is lost that anybody was told of. But one that is not a head at all was
// damaged later.
func (c *checker) heads() (root, freelist uint64, err error) {
	h := make([]byte, pageHead+headLength)
	read := func(at uint64) bool {
		_, err := c.file.ReadAt(h, int64(at))
		return err == nil && binary.NativeEndian.Uint32(h[pageHead:]) == boltMagic
	}
	try := func(at uint64) {
		if !read(at) {
			return
		}
		h := h[pageHead:]
		sum := fnv.New64a()
		sum.Write(h[:headLength-8])
		size := uint64(binary.NativeEndian.Uint32(h[8:]))
		if binary.NativeEndian.Uint64(h[headLength-8:]) != sum.Sum64() || size < 1024 {
			return
		}
		if id := binary.NativeEndian.Uint64(h[48:]); id >= c.loader.tx {
			c.loader.tx, c.pageSize = id, size
			root = binary.NativeEndian.Uint64(h[16:])
			freelist, c.pages = binary.NativeEndian.Uint64(h[32:]), binary.NativeEndian.Uint64(h[40:])
		}
	}
	try(0)
	if c.pageSize != 0 {
		try(c.pageSize)
	}
	for at := uint64(1024); at <= 1024<<14 && c.pageSize == 0; at *= 2 {
		try(at)
	}
	if c.pageSize == 0 || !read(0) || !read(c.pageSize) {
		err = damaged("it has lost its head")
	}
	return root, freelist, err
}

// page reads a page that has not been read yet.
func (c *checker) page(id uint64, depth int) (p []byte, flags uint16, err error) {
	if id < 2 || id >= c.pages {
		return nil, 0, damaged("page %d is out of range", id)
	}
	for len(c.buffers) <= depth {
		c.buffers = append(c.buffers, make([]byte, c.pageSize))
	}
	read := func(n uint64) error {
		if uint64(len(c.buffers[depth])) < n {
			c.buffers[depth] = make([]byte, n)
		}
		p = c.buffers[depth][:n]
		_, err := c.file.ReadAt(p, int64(id*c.pageSize))
		return err
	}
	if err := read(c.pageSize); err != nil {
		return nil, 0, err
	}
	flags = binary.NativeEndian.Uint16(p[8:])
	over := uint64(binary.NativeEndian.Uint32(p[12:]))
	if binary.NativeEndian.Uint64(p) != id || over >= c.pages-id {
		return nil, 0, damaged("page %d is not what was written", id)
	}
	for i := id; i <= id+over; i++ {
		if c.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, 0, damaged("page %d is used twice", i)
		}
		c.seen[i/64] |= 1 << (i % 64)
	}
	if over > 0 {
		err = read((over + 1) * c.pageSize)
	}
	return p, flags, err
}

func (c *checker) tree(root uint64, each func(k, v []byte, flags uint32) error) error {
	c.last = nil
	return c.node(root, nil, nil, 0, each)
}

// node goes through a page and those below it. All keys are from low to below
// high, which are nil where nothing is known.
func (c *checker) node(id uint64, low, high []byte, depth int, each func(k, v []byte, flags uint32) error) error {
	if depth > maxDepth {
		return damaged("page %d is too deep", id)
	}
	p, flags, err := c.page(id, depth)
	switch {
	case err != nil:
		return err
	case flags == leafPage:
		return c.leaf(p, low, high, each)
	case flags != branchPage:
		return damaged("page %d is not what was written", id)
	}
	n := uint64(binary.NativeEndian.Uint16(p[10:]))
	if n == 0 {
		return damaged("page %d is not what was written", id)
	}
	child := func(i uint64) (k []byte, to uint64, err error) {
		at := pageHead + i*pageElem
		if at+pageElem > uint64(len(p)) {
			return nil, 0, damaged("page %d is not what was written", id)
		}
		pos, size := uint64(binary.NativeEndian.Uint32(p[at:])), uint64(binary.NativeEndian.Uint32(p[at+4:]))
		k, ok := part(p, at+pos, size)
		if !ok || size == 0 {
			return nil, 0, damaged("page %d is not what was written", id)
		}
		return k, binary.NativeEndian.Uint64(p[at+8:]), nil
	}
	k, to, err := child(0)
	for i := uint64(1); ; i++ {
		if err != nil {
			return err
		}
		if bytes.Compare(k, low) < 0 || high != nil && bytes.Compare(k, high) >= 0 {
			return damaged("page %d is not in order", id)
		}
		if i == n {
			return c.node(to, k, high, depth+1, each)
		}
		next, after, bad := child(i)
		if bad == nil {
			bad = c.node(to, k, next, depth+1, each)
		}
		k, to, err = next, after, bad
	}
}

func (c *checker) leaf(p, low, high []byte, each func(k, v []byte, flags uint32) error) error {
	if len(p) < pageHead {
		return damaged("a bucket is not what was written")
	}
	id, n := binary.NativeEndian.Uint64(p), uint64(binary.NativeEndian.Uint16(p[10:]))
	if binary.NativeEndian.Uint16(p[8:]) != leafPage {
		return damaged("page %d is not what was written", id)
	}
	for i := range n {
		at := pageHead + i*pageElem
		if at+pageElem > uint64(len(p)) {
			return damaged("page %d is not what was written", id)
		}
		e := p[at:]
		pos, size := at+uint64(binary.NativeEndian.Uint32(e[4:])), uint64(binary.NativeEndian.Uint32(e[8:]))
		k, ok := part(p, pos, size)
		v, ok2 := part(p, pos+size, uint64(binary.NativeEndian.Uint32(e[12:])))
		if !ok || !ok2 || size == 0 {
			return damaged("page %d is not what was written", id)
		}
		if bytes.Compare(k, low) < 0 || high != nil && bytes.Compare(k, high) >= 0 || c.last != nil && bytes.Compare(k, c.last) <= 0 {
			return damaged("page %d is not in order", id)
		}
		c.last = append(c.last[:0], k...)
		if err := each(k, v, binary.NativeEndian.Uint32(e)); err != nil {
			return err
		}
	}
	return nil
}

func part(p []byte, at, size uint64) ([]byte, bool) {
	if at > uint64(len(p)) || size > uint64(len(p))-at {
		return nil, false
	}
	return p[at : at+size], true
}

// freelist checks the list of free pages, which is only there if another
// program has had the file in its hands, such as bbolt compact.
func (c *checker) freelist(id uint64) error {
	p, flags, err := c.page(id, 0)
	if err != nil {
		return err
	}
	n, at := uint64(binary.NativeEndian.Uint16(p[10:])), uint64(pageHead)
	if n == 0xFFFF {
		n, at = binary.NativeEndian.Uint64(p[at:]), at+8
	}
	if flags != freePage || n > (uint64(len(p))-at)/8 {
		return damaged("page %d is not what was written", id)
	}
	for ; n > 0; n, at = n-1, at+8 {
		free := binary.NativeEndian.Uint64(p[at:])
		if free < 2 || free >= c.pages || c.seen[free/64]&(1<<(free%64)) != 0 {
			return damaged("page %d is used and free", free)
		}
		c.seen[free/64] |= 1 << (free % 64) // so that nothing may use it
	}
	return nil
}
