package policy_test

import (
	"slices"
	"strings"

	"ward/image"
	"ward/policy/internal/cedar"
)

// Domains in other rings in random systems: to Cedar each is the domain that it is
// named after, with that ring, and with a state of its own.

// ringOf is a ring as LANGUAGE.md says that policies see it.
func ringOf(r image.Ring) cedar.Value {
	return cedar.NewRecord(map[cedar.String]cedar.Value{"level": cedar.Long(slices.Index(defaultRings, r.Name)), "name": cedar.String(r.Name)})
}

// stands reports whether a domain can be a client in Cedar's entities: where a
// policy asks for an attribute of a domain by its name it means the domain itself,
// and Cedar's entities have one of the two.
func (o *oracle) stands(name string) bool {
	of, ring := image.Ringed(name)
	return ring == "" || !strings.Contains(o.text(), `Domain::"`+of+`".`)
}

// stand makes a domain the client of the next message.
func (o *oracle) stand(d image.Domain) cedar.UID {
	of, ring := image.Ringed(d.Name)
	if o.in = ""; ring != "" {
		o.in = d.Name
		o.stats.ringed++
	}
	return cedar.NewUID("Domain", of)
}

// nameOf is the name in the image of what Cedar knows by an ID.
func (o *oracle) nameOf(uid cedar.UID) string {
	if of, _ := image.Ringed(o.in); of == string(uid.ID) && o.in != "" {
		return o.in
	}
	return string(uid.ID)
}
