package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"ward/monitor/admin"
)

// trafficRows says what waits on the gates of a domain of how much may, and what
// is left of its quota of messages. Where nobody counts, it says only the limit.
func trafficRows(q *admin.Quota, t *admin.Traffic) (rows []string) {
	if t == nil {
		t = &admin.Traffic{}
	}
	rows = append(rows, waitingRow("pending calls", t.Calls, uint64(q.Pending), decimal))
	if t.Answers != nil && t.Answers.All > 0 {
		rows = append(rows, waitingRow("calls to answer", t.Answers, 0, decimal))
	}
	rows = append(rows, waitingRow("queued", t.Queued, sendBuffer(), sized)+", which then makes its sender wait")
	if t.Unread != nil && t.Unread.All > 0 {
		rows = append(rows, waitingRow("not read yet", t.Unread, 0, sized))
	}
	if q.Messages > 0 {
		used := ""
		if t.Messages != nil {
			used = fmt.Sprintf("%d of ", *t.Messages)
		}
		rows = append(rows, fmt.Sprintf("messages: %s%d requests a second", used, q.Messages))
	}
	return rows
}

// waitingRow says how much waits on the gate where most does, and on all.
func waitingRow(what string, w *admin.Backlog, limit uint64, show func(uint64) string) string {
	switch {
	case w == nil:
		return fmt.Sprintf("%s: %s on each gate", what, show(limit))
	case w.Gate == nil:
		return fmt.Sprintf("%s: %s of %s on each gate", what, show(0), show(max(w.Limit, limit)))
	}
	row := fmt.Sprintf("%s: %s of %s on %s: %s → %s", what, show(w.Most), show(w.Limit), w.Gate.Interface, w.Gate.From, w.Gate.To)
	if w.All > w.Most {
		row += fmt.Sprintf(", %s on all gates", show(w.All))
	}
	return row
}

// sendBuffer is how much memory of the kernel the messages may take that wait on
// one gate: what it gives every socket. 0: not known.
func sendBuffer() uint64 {
	text, err := os.ReadFile("/proc/sys/net/core/wmem_default")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// moreTmp says what more there is than the quota of /tmp where that is exceeded:
// what the root is given on the same file system, and seldom needs.
func moreTmp(u *use, quota uint64) string {
	if u.Tmp == nil || u.TmpSize == nil || *u.Tmp <= quota || *u.TmpSize <= quota {
		return ""
	}
	return " and " + sized(*u.TmpSize-quota) + " for its root"
}

// tmpFiles says how many files /tmp has, if somebody has counted. The root of the
// domain, with what is mounted there, is of the same file system, and counts.
func tmpFiles(n *uint64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf(", %d files with those of its root", *n)
}
