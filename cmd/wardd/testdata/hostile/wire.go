//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/kernel/page"
)

const own = "test.v1.Hostile"

// An end is one end of a gate.
type end struct {
	fd    int
	block *page.Block
	at    uint32 // of block on the page
}

var domain struct {
	mu      sync.Mutex
	seq     uint32
	page    int
	answers map[uint32]chan answer
	ends    []end // by the number that orders use
	more    *sync.Cond
}

type answer struct {
	abi.Control
	fds []int
}

func readControl() (answer, error) {
	b, oob := make([]byte, abi.MaxControl), make([]byte, unix.CmsgSpace(16))
	n, oobn, _, _, err := unix.Recvmsg(abi.ControlFD, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return answer{}, fmt.Errorf("the control channel has ended: %v", err)
	}
	var a answer
	if a.Control, err = abi.ParseControl(b[:n]); err != nil {
		return a, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		a.fds = append(a.fds, fds...)
	}
	return a, err
}

func serve() error {
	hello, err := readControl()
	if err != nil || len(hello.fds) != 1 {
		return fmt.Errorf("greeting: %v", err)
	}
	domain.page, domain.answers = hello.fds[0], map[uint32]chan answer{}
	domain.more = sync.NewCond(&domain.mu)
	go func() {
		if a, err := ask(abi.Control{Op: abi.OpServe, Interface: own}); err != nil || a.Op != abi.OpOK {
			fmt.Println("serve:", a.Text, err)
		}
	}()
	for {
		a, err := readControl()
		if err != nil {
			return err
		}
		if a.Op == abi.OpGate && a.Seq == 0 {
			e, err := newEnd(&a)
			if err != nil {
				return err
			}
			if a.Interface == own {
				go takeOrders(e.fd)
				continue
			}
			domain.mu.Lock()
			domain.ends = append(domain.ends, e)
			domain.more.Broadcast()
			domain.mu.Unlock()
			continue
		}
		domain.mu.Lock()
		ch := domain.answers[a.Seq]
		delete(domain.answers, a.Seq)
		domain.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
}

func newEnd(a *answer) (end, error) {
	if len(a.fds) != 1 {
		return end{}, fmt.Errorf("a gate with %d descriptors", len(a.fds))
	}
	if a.Access == abi.AccessRead { // of a mailbox: its block is on no page of ours
		return end{fd: a.fds[0]}, nil
	}
	block, err := page.Map(domain.page, a.Block)
	return end{a.fds[0], block, a.Block}, err
}

func ask(c abi.Control) (answer, error) {
	ch := make(chan answer, 1)
	domain.mu.Lock()
	domain.seq++
	c.Seq = domain.seq
	domain.answers[c.Seq] = ch
	domain.mu.Unlock()
	b, err := c.AppendTo(nil)
	if err == nil {
		_, err = unix.Write(abi.ControlFD, b)
	}
	if err != nil {
		return answer{}, err
	}
	return <-ch, nil
}

// takeOrders serves test.v1.Hostile on a gate.
func takeOrders(fd int) {
	b := make([]byte, abi.MaxMessage)
	for {
		n, err := unix.Read(fd, b)
		if err != nil || n < abi.HeaderSize {
			unix.Close(fd)
			return
		}
		h, err := abi.ParseHeader(b[:n])
		if err != nil || h.Kind != abi.KindCall || n < abi.HeaderSize+2 {
			continue
		}
		_, _, skip := protowire.ConsumeTag(b[abi.HeaderSize:n])
		text, _ := protowire.ConsumeString(b[abi.HeaderSize+skip : n])
		body := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), obey(text))
		unix.Write(fd, packet(abi.Header{Kind: abi.KindReply, Method: h.Method, Slot: h.Slot, Gen: h.Gen}, body))
	}
}

func packet(h abi.Header, body []byte) []byte {
	h.Length = uint32(len(body))
	b := make([]byte, abi.HeaderSize, abi.HeaderSize+len(body))
	h.Put(b)
	return append(b, body...)
}

func nth(s string) (end, error) {
	domain.mu.Lock()
	defer domain.mu.Unlock()
	if n := number(s); n >= 0 && n < len(domain.ends) {
		return domain.ends[n], nil
	}
	return end{}, errors.New("no such end")
}

func mapPage(prot int) error {
	b, err := unix.Mmap(domain.page, 0, 4096, prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

func granted(a answer, err error) error {
	if err == nil && a.Op == abi.OpRefused {
		return fmt.Errorf("the monitor: %v: %s", a.Reason, a.Text)
	}
	return err
}

func init() {
	// open INTERFACE [SERVER]: "done NUMBER DESCRIPTOR".
	orders["open"] = func(args []string) (string, error) {
		c := abi.Control{Op: abi.OpOpen, Interface: args[0]}
		if len(args) > 1 {
			c.Name = args[1]
		}
		a, err := ask(c)
		if err := granted(a, err); err != nil {
			return "", err
		}
		e, err := newEnd(&a)
		if err != nil {
			return "", err
		}
		domain.mu.Lock()
		defer domain.mu.Unlock()
		domain.ends = append(domain.ends, e)
		domain.more.Broadcast()
		return fmt.Sprint(len(domain.ends)-1, " ", e.fd), nil
	}
	orders["serve"] = func(args []string) (string, error) {
		return "", granted(ask(abi.Control{Op: abi.OpServe, Interface: args[0]}))
	}
	// send END HEX: the reason of the kernel's verdict, as a number.
	orders["send"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		b, err := hex.DecodeString(args[1])
		if err != nil {
			return "", err
		}
		short := e.block.Load(1)
		if err := unix.Send(e.fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
			return "", err
		}
		if n := e.block.Load(1) - short; n != 0 {
			return "", errors.New("not a message")
		}
		h, err := abi.ParseHeader(b)
		if err != nil {
			return "", err
		}
		v := abi.VerdictWord(e.block.Load(abi.PageSlots + int(h.Slot)))
		if v.Gen() != h.Gen || !v.Reason().Allowed() {
			return "", fmt.Errorf("the kernel: %v", v.Reason())
		}
		return fmt.Sprint(v.Reason()), nil
	}
	// receive END: one packet, if there is one.
	orders["receive"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		b := make([]byte, abi.MaxMessage)
		n, _, err := unix.Recvfrom(e.fd, b, unix.MSG_DONTWAIT)
		return hex.EncodeToString(b[:max(0, min(n, 4096))]), err
	}
	// await COUNT: returns once there are so many ends. The client's end of a new
	// gate can be in use before the server has read of its own.
	orders["await"] = func(args []string) (string, error) {
		domain.mu.Lock()
		defer domain.mu.Unlock()
		for len(domain.ends) < number(args[0]) {
			domain.more.Wait()
		}
		return "", nil
	}
	// flood END SIZE COUNT: calls of the largest kind in slot after slot, until
	// the queue is full. "done SENT".
	orders["flood"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		load := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), make([]byte, number(args[1])))
		sent := 0
		for ; sent < number(args[2]); sent++ {
			b := packet(abi.Header{Kind: abi.KindCall, Slot: uint16(sent % abi.Slots), Gen: uint16(sent/abi.Slots + 1)}, load)
			if err = unix.Send(e.fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
				break
			}
		}
		return fmt.Sprint(sent, " ", err), nil
	}
	// babble END COUNT: calls that are allowed, whose answers nobody reads.
	// "done ADMITTED".
	orders["babble"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		hello := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "hello")
		admitted := 0
		for i := range number(args[1]) {
			h := abi.Header{Kind: abi.KindCall, Slot: uint16(i % abi.Slots), Gen: uint16(i/abi.Slots + 1)}
			if err = unix.Send(e.fd, packet(h, hello), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
				return "", err
			}
			if v := abi.VerdictWord(e.block.Load(abi.PageSlots + int(h.Slot))); v.Gen() == h.Gen && v.Reason().Allowed() {
				admitted++
			}
		}
		return fmt.Sprint(admitted), nil
	}
	// pester COUNT INTERFACE [SERVER]: requests to the monitor, until its queue
	// is full. "done SENT".
	orders["pester"] = func(args []string) (string, error) {
		c := abi.Control{Op: abi.OpOpen, Seq: 1 << 30, Interface: args[1]}
		if len(args) > 2 {
			c.Name = args[2]
		}
		b, err := c.AppendTo(nil)
		if err != nil {
			return "", err
		}
		sent := 0
		for ; sent < number(args[0]); sent++ {
			if unix.Send(abi.ControlFD, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) != nil {
				break
			}
		}
		return fmt.Sprint(sent), nil
	}
	// readpage and writepage map the verdict page.
	orders["readpage"] = func([]string) (string, error) { return "", mapPage(unix.PROT_READ) }
	orders["writepage"] = func([]string) (string, error) { return "", mapPage(unix.PROT_READ | unix.PROT_WRITE) }
	// chatter END COUNT: packets that are no messages.
	orders["chatter"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		for range number(args[1]) {
			if err := unix.Send(e.fd, []byte("x"), unix.MSG_NOSIGNAL); err != nil {
				return "", err
			}
		}
		return "", nil
	}
	orders["detach"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	}
	orders["sendbuffer"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	orders["bind"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.Bind(e.fd, &unix.SockaddrUnix{Name: args[1]})
	}
	orders["smuggle"] = func(args []string) (string, error) {
		e, err := nth(args[0])
		if err != nil {
			return "", err
		}
		return "", unix.Sendmsg(e.fd, []byte("x"), unix.UnixRights(0), nil, 0)
	}
	// exhaust INTERFACE SERVER: gates until one is refused. "done COUNT WHY".
	orders["exhaust"] = func(args []string) (string, error) {
		for n := 0; ; n++ {
			if _, err := orders["open"](args); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
	}
}
