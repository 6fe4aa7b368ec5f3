package audit

import "ward/abi"

// socket translates the record of an address that a domain was refused.
func (t *translator) socket(k *abi.Record) Record {
	r := Record{Event: EventSocket, Time: t.time(k.Time), From: t.domain(k.From), Kind: abi.SocketOp(k.Detail).String(), Address: k.SocketAddress()}
	t.decided(&r, false, k.Reason, abi.NoPolicy)
	return r
}
