package compare_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ward/compare"
)

// besides are the changes of what passes beside messages, as texts.
func besides(r *compare.Report) (all []string) {
	for _, x := range r.Changes {
		if strings.Contains(x.Detail, "error in its place") || strings.HasPrefix(x.Object, "metadata ") {
			all = append(all, fmt.Sprintf("%s %v %s %q %v", line(x), x.NewAccess, x.Detail, x.User, x.Groups))
		}
	}
	return all
}

// TestAttackErrorsUnnoticed: a change of the policy on replies after which no
// reply flips, but errors in their place, which nobody decides on, may say more
// than their code. Errors could not say what a reply may not, before; a review
// by --no-new-access must see it. The control: a change after which they may not.
func TestAttackErrorsUnnoticed(t *testing.T) {
	const forbid = "@id(\"no secrets\")\nforbid (principal, action == t::v1::Action::\"T.Do.reply\", resource) when { context.code == 7 };\n"
	permit := func(who, when string) string {
		return "@id(\"answer\") permit (principal == Domain::\"server\", action == t::v1::Action::\"T.Do.reply\", resource " + who + ")" + when + ";\n"
	}
	const wider, narrower = "an error in its place may say more than its code now: text, details, metadata", "an error in its place says its code only now"
	many := `resource in Group::"g0"`
	for i := range 10 {
		many += fmt.Sprintf(` || resource in Group::"g%d"`, i+1)
	}
	const all = " when { context.code < 5 || context.code >= 5 }" // as good as none
	for name, c := range map[string]struct {
		before, after string // in place of the forbid
		want          []string
	}{
		"control: the same":   {forbid, forbid, nil},
		"control: both terse": {permit(`== Domain::"client"`, all), permit(`== Domain::"client"`, " when { context.code <= 5 || context.code > 5 }"), nil},
		"all codes, without a condition": {permit(`== Domain::"client"`, all), permit(`== Domain::"client"`, ""), []string{
			"reply changed server>client t.v1.T/Do true " + wider + ` "" []`}},
		"a condition that is always true": {permit(`== Domain::"client"`, ""), permit(`== Domain::"client"`, all), []string{
			"reply changed server>client t.v1.T/Do false " + narrower + ` "" []`}},
		"of one user": {permit(`== User::"alice"`, all), permit(`== User::"alice"`, ""), []string{
			"reply changed server>user:* t.v1.T/Do true " + wider + ` "alice" []`}},
		"of a group": {permit(`in Group::"ops"`, all), permit(`in Group::"ops"`, ""), []string{
			"reply changed server>user:* t.v1.T/Do true " + wider + ` "" [ops]`}},
		"of too many groups": {permit(`is User`, ` when { resource in Group::"a" || resource in Group::"b" || `+many+` }`), permit(`is User`, ` when { `+many+` || resource in Group::"a" || resource in Group::"b" && context.code < 9 }`), []string{
			"reply open server>user:* t.v1.T/Do true the policies look at 0 users and 13 groups: that an error in its place may say more than before could not be excluded" + ` "" []`}},
		// Who flips is told already, and counts.
		"a forbid less": {forbid, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(text string) []string {
				return []string{base["p.cedar"], strings.Replace(base["p.cedar"], forbid, text, 1)}
			}
			r := compare.Images(with(t, change(c.before)...), with(t, change(c.after)...))
			if got := besides(r); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q; all: %+v", got, c.want, r.Changes)
			}
			if strings.Contains(fmt.Sprint(c.want), "Do true") != (len(c.want) > 0 && r.NewAccess() > 0) {
				t.Errorf("%d with new access: %+v", r.NewAccess(), r.Changes)
			}
			if name == "a forbid less" && r.NewAccess() == 0 {
				t.Errorf("not new: %+v", r.Changes)
			}
		})
	}
}

// TestAttackMetadataUnnoticed: a condition on metadata goes, and what it was in
// is denied, so that nothing seems to be new; but the key is any bytes then for
// the other methods of the gate. The control: it stays in another condition.
func TestAttackMetadataUnnoticed(t *testing.T) {
	const two = `@id("two") permit (principal == Domain::"client", action in t::v1::Action::"T", resource == Domain::"server");` + "\n"
	forbid := func(when string) string {
		return two + `@id("not so") forbid (principal == Domain::"client", action == t::v1::Action::"T.Do", resource) ` + when + ";\n"
	}
	const looks = `when { context.ward.metadata has x && context.ward.metadata.x == "lab" }`
	files := func(rules string) []string {
		return []string{"policy: [p.cedar]\n", "policy: [p.cedar]\nmetadata: {x: 8, y: 8}\n", base["p.cedar"], rules}
	}
	wide := "bounds changed client>server t.v1.Tmetadata x true bytes that are no text may pass: no policy of the gate looks at it any more" + ` "" []`
	narrow := "bounds changed client>server t.v1.Tmetadata x false bytes that are no text do not pass any more: some policy of the gate looks at it" + ` "" []`
	for name, c := range map[string]struct {
		before, after string
		want          []string
	}{
		"goes":             {forbid(looks), forbid(""), []string{wide}},
		"comes":            {forbid(""), forbid(looks), []string{narrow}},
		"control: stays":   {forbid(looks), forbid(strings.Replace(looks, `"lab"`, `"shop"`, 1)), nil},
		"control: nowhere": {forbid(""), two, nil},
		"control: nobody":  {forbid(looks), two + `@id("none") forbid (principal, action, resource);`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := compare.Images(with(t, files(c.before)...), with(t, files(c.after)...))
			if got := besides(r); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q; all: %+v", got, c.want, r.Changes)
			}
			if name == "goes" && r.NewAccess() != 1 {
				t.Errorf("%d with new access: %+v", r.NewAccess(), r.Changes)
			}
		})
	}
}
