package main

// Opens whose arguments nobody looks at, and truncation: who has a second wall instead.

var opensSuite = suite{{"kernel", "^Test(OpensUnchecked|UncheckedOpens|ReadsOnly|NoTruncation)$"}}

const opensGo = "kernel/seccomp_files.go"

var opensMutations = []mutation{
	{what: "opens of a domain that writes are not looked at", file: opensGo, old: "root == nil || !b.readsOnly() || ", new: "root == nil || ", tests: "opens"},
	{what: "opens of one whose user is not its own are not looked at", file: opensGo, old: "!b.has(WithIdentity) || ", new: "", tests: "opens"},
	{what: "opens of one that has root's files are not looked at", file: opensGo, old: "return b.AsRoot })", new: "return false })", tests: "opens"},
	{what: "opens of one that may read its own are not looked at", file: opensGo, old: "st.Uid == b.UID || ", new: "", tests: "opens"},
	{what: "opens of one that may read its group's are not looked at", file: opensGo, old: "st.Gid == b.GID || ", new: "", tests: "opens"},
	{what: "opens of one that may read what anybody may write are not looked at", file: opensGo, old: " || st.Mode&unix.S_IWOTH != 0 {", new: " {", tests: "opens"},
	{what: "opens of one with gates are not looked at", file: opensGo, old: "!n.Messages || ", new: "", tests: "opens"},
	{what: "opens of one that binds and notifies are not looked at", file: opensGo, old: "n.Notify && len(n.Bind) > 0 ||", new: "", tests: "opens"},
	{what: "opens of one that listens at a path are not looked at", file: opensGo, old: "return s.Inode != \"\" })", new: "return false })", tests: "opens"},
	{what: "no argument is looked at", file: opensGo, old: "		if _, ok := openFlags[c.Nr]; ok {\n			calls[i].When = nil", new: "		{\n			_ = c\n			calls[i].When = nil", tests: "opens"},
	{what: "truncation is not taken away", file: opensGo, old: "return c.Nr == unix.SYS_TRUNCATE })", new: "return false })", tests: "opens"},
}
