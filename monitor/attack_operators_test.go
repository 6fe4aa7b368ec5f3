package monitor

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// Users whom no policy lets ask anything connect to the operators' socket as
// often as they can, say nothing, and stay: an operator is answered all the same, and
// so is root. Control: the same connections of users who may ask take what
// there is, and the operator is turned away.
func TestAttackOperatorSlots(t *testing.T) {
	const operator = 1000
	attackers := []uint32{2001, 2002, 2003, 2004}
	for name, test := range map[string]struct {
		may  []uint32
		kept bool // the operator is kept out
	}{
		"without rights":       {may: []uint32{operator}},
		"control, with rights": {may: append([]uint32{operator}, attackers...), kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var come []uint32 // who connects next
			s := startSystem(t, func(c *Config) {
				c.Image.Users = nil
				for _, uid := range test.may {
					c.Image.Reload.Permit = append(c.Image.Reload.Permit, image.Rule{Policy: uint32(len(c.Image.Policies)), When: image.Expr{Op: image.User, Atom: uint32(len(c.Image.Users))}})
					c.Image.Policies = append(c.Image.Policies, image.Policy{ID: "reload " + strconv.Itoa(int(uid))})
					c.Image.Users = append(c.Image.Users, strconv.Itoa(int(uid)))
				}
				c.Credentials = func(*link.Conn) (Credentials, error) {
					mu.Lock()
					defer mu.Unlock()
					uid := come[0]
					come = come[1:]
					return Credentials{UID: uid}, nil
				}
			})
			dial := func(uid uint32) *net.UnixConn {
				mu.Lock()
				come = append(come, uid)
				mu.Unlock()
				conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(s.m.RunDir, admin.OperatorSocket), Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return conn
			}
			for range maxPerOperator + 1 { // connections are taken in their order
				for _, uid := range attackers {
					dial(uid)
				}
			}
			conn := dial(operator)
			conn.SetDeadline(time.Now().Add(wait))
			conn.Write([]byte{byte(admin.OpPS)}) // an error: it was turned away
			var d admin.Domain
			err := json.NewDecoder(conn).Decode(&d)
			if answered := err == nil && d.Name != ""; answered == test.kept {
				t.Errorf("the operator was answered: %v (%v)", answered, err)
			}
			if os.Geteuid() != 0 {
				return
			}
			if all, err := admin.PS(t.Context(), s.m.RunDir); err != nil || !slices.ContainsFunc(all, func(d admin.Domain) bool { return d.Name == "client" }) {
				t.Errorf("root was answered %d domains, %v", len(all), err)
			}
		})
	}
}
