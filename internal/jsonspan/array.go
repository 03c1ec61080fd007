package jsonspan

// Array goes over the elements of a JSON array. [NewArray] makes one; the zero
// Array yields nothing but [ErrSyntax].
//
//	a, err := jsonspan.NewArray(b, i)
//	if err != nil {
//		return err
//	}
//	for {
//		span, ok, err := a.Next(maxDepth)
//		if err != nil {
//			return err
//		}
//		if !ok {
//			break
//		}
//		use(span)
//	}
//	rest := b[a.End():]
type Array struct {
	b     []byte
	i     int
	state arrayState
	err   error
}

type arrayState uint8

const (
	arrayStart  arrayState = iota // b[i] is the opening bracket
	arrayInside                   // b[i] is just after an element
	arrayDone                     // b[i] is just after the array, or where it broke
)

// NewArray returns the array that starts at b[i], or [ErrSyntax] when none
// does. It reads only the opening bracket.
func NewArray(b []byte, i int) (Array, error) {
	if at(b, i) != '[' {
		return Array{b: b, i: clamp(b, i), state: arrayDone, err: ErrSyntax}, ErrSyntax
	}
	return Array{b: b, i: i}, nil
}

// Next returns the span of the next element, which may nest maxDepth deep, as
// in [Value]; it is part of the array's bytes, not a copy. ok is false after
// the last element, and on an error, which further calls repeat.
func (a *Array) Next(maxDepth int) (span []byte, ok bool, err error) {
	start, ok := a.next()
	if !ok {
		return nil, false, a.err
	}
	end, err := Value(a.b, start, maxDepth)
	if err != nil {
		a.fail(end, err)
		return nil, false, err
	}
	a.i = end
	return a.b[start:end:end], true, nil
}

// End returns the index just after the array once [Array.Next] has returned
// !ok without an error; with one, the offset at which reading stopped.
func (a *Array) End() int {
	return a.i
}

// next moves to the next element and returns where it starts. The caller scans
// it and sets a.i to the index just after it. ok is false after the last one,
// and on an error, which is then in a.err.
func (a *Array) next() (start int, ok bool) {
	b, i := a.b, a.i
	switch a.state {
	case arrayStart:
		if at(b, i) != '[' { // the zero Array
			a.fail(clamp(b, i), ErrSyntax)
			return 0, false
		}
		a.state = arrayInside
		i = Space(b, i+1)
		if at(b, i) == ']' {
			a.i, a.state = i+1, arrayDone
			return 0, false
		}
		return i, true
	case arrayInside:
		i = Space(b, i)
		switch at(b, i) {
		case ',':
			return Space(b, i+1), true
		case ']':
			a.i, a.state = i+1, arrayDone
		default:
			a.fail(i, ErrSyntax)
		}
	}
	return 0, false
}

func (a *Array) fail(i int, err error) {
	a.i, a.state, a.err = i, arrayDone, err
}
