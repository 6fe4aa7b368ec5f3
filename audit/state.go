package audit

import (
	"slices"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// state is the values of the word that a record carries, by name, and how often
// that word has changed, modulo 65,536. A state of a domain is DOMAIN.NAME.
func (t *translator) state(k *abi.Record, atoms filter.Atoms) (map[string]string, *uint16) {
	l := t.looksOf(k, atoms)
	if l == nil || k.Word == 0 || int(k.Word) > len(l.words[k.Method]) {
		return nil, nil
	}
	if t.before != nil && k.Time <= t.until && int(k.Route) < len(t.before.img.Routes) {
		// It may be of a filter of the image before, whose words are in another order.
		if was := t.before.looksOf(k, atoms); was == nil || !slices.Equal(was.words[k.Method], l.words[k.Method]) {
			return nil, nil
		}
	}
	word := l.words[k.Method][k.Word-1]
	values := map[string]string{}
	for i := range t.img.Cells {
		c := &t.img.Cells[i]
		if c.Word != word {
			continue
		}
		s := &t.img.States[c.State]
		name := s.Name
		if s.Per == image.PerDomain {
			name = t.domain(c.Domain) + "." + name
		}
		if v := c.Value(k.State); int(v) < len(s.Values) {
			values[name] = s.Values[v]
		}
	}
	changes := uint16(k.State >> image.StateBits)
	return values, &changes
}
