package torture

// connections checks what each connection of a device was told by itself.
func (c *checker) connections(l *log) {
	var conn *connection
	for i := range l.records {
		r := &l.records[i]
		if r.what == opened {
			if conn != nil {
				conn.end(false)
			}
			conn = &connection{checker: c, log: l, known: l.since, pos: r.seq, calls: map[int]*record{}}
			continue
		}
		conn.step(r)
	}
	if conn != nil {
		conn.end(l.settled)
	}
}

// connection is the state of one connection while its records are gone through.
type connection struct {
	*checker
	log    *log
	known  bool   // pos is known
	pos    uint64 // the seq of the last entry the device has, or acted for
	listed bool   // online_users has come
	ready  bool
	calls  map[int]*record // not answered
	heard  int             // the last answer
}

func (k *connection) step(r *record) {
	switch r.what {
	case emitted:
		k.calls[r.call] = r
	case answered:
		k.answer(r)
	case arrived:
		k.arrive(r)
	case ready:
		switch {
		case k.ready:
			k.broken(ruleReplay, "%s/%d: inboxReady came twice", k.log.device, r.conn)
		case k.known && k.pos != r.seq:
			k.broken(ruleReplay, "%s/%d: inboxReady says #%d, the last entry was #%d", k.log.device, r.conn, r.seq, k.pos)
		}
		if !r.complete || r.epoch != k.checker.epochOf(r) {
			k.broken(ruleEpoch, "%s/%d: inboxReady has epoch %s, complete %v", k.log.device, r.conn, r.epoch, r.complete)
		}
		k.ready, k.known, k.pos = true, true, r.seq
	case opened, called, closed:
	}
}

// epochOf is the epoch that r should have: that of all others.
func (c *checker) epochOf(r *record) string {
	if c.epoch == "" {
		c.epoch = r.epoch
	}
	return c.epoch
}

func (k *connection) answer(r *record) {
	asked := k.calls[r.call]
	switch {
	case asked == nil:
		k.broken(ruleAck, "%s/%d: an ack came for call %d, which waits for none", k.log.device, r.conn, r.call)
		return
	case r.call != k.heard+1:
		k.broken(ruleAck, "%s/%d: call %d was acked behind call %d", k.log.device, r.conn, r.call, k.heard)
	}
	delete(k.calls, r.call)
	k.heard = r.call
	switch {
	case r.code == "not_found" && asked.stranger, r.code == "unavailable" && k.restarts:
		return
	case r.code != "":
		k.broken(ruleError, "%s/%d: %s of %v was answered %s", k.log.device, r.conn, asked.event, asked.key(), r.code)
		return
	case asked.stranger:
		k.broken(ruleTrue, "%s/%d: a receipt for a message that was never sent was acked ok", k.log.device, r.conn)
		return
	}
	switch {
	case r.seq == 0: // of a receipt that was none
	case r.event == sendMessage && !r.duplicate && k.known && r.seq <= k.pos:
		k.broken(ruleSeq, "%s/%d: the ack of %v has #%d, the device was at #%d", k.log.device, r.conn, r.key(), r.seq, k.pos)
	case !k.known:
		if r.event == sendMessage && !r.duplicate {
			k.known, k.pos = true, r.seq
		}
	case r.seq > k.pos && r.duplicate:
		k.broken(ruleSeq, "%s/%d: %v was acked as a duplicate at #%d, the device was at #%d", k.log.device, r.conn, r.key(), r.seq, k.pos)
	case r.seq > k.pos:
		if r.seq != k.pos+1 {
			k.broken(ruleSeq, "%s/%d: the ack of %s %v has #%d, the device was at #%d", k.log.device, r.conn, r.event, r.key(), r.seq, k.pos)
		}
		k.pos = r.seq
	}
}

func (k *connection) arrive(r *record) {
	if r.event == onlineUsers {
		k.listed = true
		return
	}
	if !k.listed {
		k.broken(ruleReplay, "%s/%d: %v came before online_users", k.log.device, r.conn, r)
	}
	if r.seq == 0 {
		k.broken(ruleSeq, "%s/%d: %v has no seq", k.log.device, r.conn, r)
		return
	}
	if k.known && r.seq != k.pos+1 {
		k.broken(ruleSeq, "%s/%d: %v came behind #%d", k.log.device, r.conn, r, k.pos)
	}
	k.known, k.pos = true, r.seq
}

// end is the end of the connection, or of the history: then nothing is on its
// way any more.
func (k *connection) end(settled bool) {
	if !settled {
		return
	}
	if !k.ready {
		k.broken(ruleReplay, "%s: inboxReady did not come", k.log.device)
	}
	for _, r := range k.calls {
		k.broken(ruleAck, "%s/%d: %s of %v was not acked", k.log.device, r.conn, r.event, r.key())
	}
}
