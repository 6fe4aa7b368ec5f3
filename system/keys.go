package system

// Limits of what one file may declare. They bound the work of the compiler
// and the size of the image.
const (
	maxDomains  = 1024
	maxEntries  = 1024 // of a list or table of a domain
	maxMetadata = 16   // keys (image.MaxMetadata), the two of the trace context included

	// maxMetadataBytes bounds the values of all metadata keys together, in bytes.
	maxMetadataBytes = 16 << 10
)

// Patterns. They have to mean the same in Go and in ECMAScript.
const (
	namePattern      = `^[a-z][a-z0-9-]{0,62}$`
	nameHint         = "small letters, digits and '-', starting with a letter, at most 63"
	pathPattern      = `^(/[^/\x00-\x1f\x7f]+)+$`
	pathHint         = "an absolute path without '..', '.', '//' or a slash at the end"
	socketHint       = "the absolute, clean path of a Unix socket: gates are for callers on this machine, whom its kernel knows, not for a network"
	interfacePattern = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`
	interfaceHint    = "the full name of a protobuf service, as pkg.v1.Service"
	plainPattern     = `^[^\x00]*$`
	plainHint        = "text without NUL characters"
)

var pathShape = str("Absolute, clean path.", pathPattern, pathHint)

// fileShape is the root of system.yaml.
var fileShape = objectOf("A Ward system: what runs, and what the file itself grants.",
	key{"ward", true, number("Version of this format: 1.", 1, 1)},
	key{"name", true, str("Name of the system.", namePattern, nameHint)},
	key{"interfaces", false, listOf("Files with the interfaces, relative to this directory.", maxEntries,
		str("A .proto file.", `^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*\.proto$`, "the relative path of a .proto file"))},
	key{"policy", false, listOf("Files with the policies, relative to this directory.", maxEntries,
		str("A .cedar file.", `^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*\.cedar$`, "the relative path of a .cedar file"))},
	key{"require", false, listOf("Kernel mechanisms without which the system must not start, by the names that `ward doctor` prints.", maxEntries,
		oneOf("A mechanism.", Mechanisms...))},
	key{"rings", false, ringsShape},
	key{"roles", false, rolesShape},
	key{"domains", true, tableOf("The protection domains, by name.", maxDomains,
		str("A domain.", namePattern, nameHint), domainShape)},
	key{"metadata", false, tableOf("Metadata keys that may travel beside a message, with the largest value in bytes. traceparent (55) and tracestate (512) are declared already.", maxMetadata,
		str("A gRPC metadata key.", `^[a-z0-9_.-]{1,64}$`, "small letters, digits, '_', '.' and '-', at most 64"),
		number("Largest value, in bytes.", 1, 8<<10))},
	key{"audit", false, oneOf("`all` records admitted messages too, not only denied ones.", "all")},
	key{"use", false, useShape},
	key{"state", false, tableOf("Declared state, which policies read and admitted messages change.", maxStates,
		str("A state.", stateNamePattern, stateNameHint), stateShape)},
	key{"objects", false, tableOf("What domains share beside messages, and mailboxes, by name (docs/objects.md).", maxObjects,
		str("An object.", namePattern, nameHint), objectShape)},
	key{"pools", false, notYet("Pools of objects.")},
	key{"jobs", false, notYet("Jobs for `ward run`.")},
)

var domainShape = objectOf("A protection domain. It has `program` or `build`.",
	key{"build", false, str("Go package to build, relative to this directory; the result is the program.",
		`^[A-Za-z0-9_.][A-Za-z0-9_./@+-]*$`, "the relative path of a Go package, as ./manager")},
	key{"program", false, str("Executable on the host.", pathPattern, pathHint)},
	key{"digest", false, str("SHA-256 that the program must have.", `^sha256:[0-9a-f]{64}$`, "sha256: and 64 hexadecimal digits in small letters")},
	key{"args", false, listOf("Arguments after the program's name.", maxEntries, str("An argument.", plainPattern, plainHint))},
	key{"env", false, anyOf("The whole environment, beside what Ward sets.",
		listOf("As NAME=value.", maxEntries, str("A variable.", `^[A-Za-z_][A-Za-z0-9_]*=[^\x00]*$`, "NAME=value")),
		tableOf("As NAME: value.", maxEntries, str("A name.", `^[A-Za-z_][A-Za-z0-9_]*$`, "letters, digits and '_'"), str("A value.", plainPattern, plainHint)))},
	key{"root", false, oneOf("`host`: a read-only view of the host's libraries and programs.", "host")},
	key{"files", false, tableOf("Files and directories of the host, seen at the same path.", maxEntries, pathShape, anyOf("How they may be used.",
		accessShape,
		objectOf("How they may be used, and as whom.",
			key{"mode", true, accessShape},
			key{"as", false, oneOf("`root`: the domain's user sees root's files as its own.", "root")},
			key{"ring", false, str("Ring whose data this is: less trusted domains do not get it (`ward/rings-x86`).", namePattern, nameHint)})))},
	key{"listen", false, tableOf("Sockets bound for the domain and handed over as LISTEN_FDS.", maxEntries,
		str("Name of the socket (LISTEN_FDNAMES).", `^[A-Za-z0-9_.-]{1,255}$`, "letters, digits, '_', '.' and '-'"), listenShape)},
	key{"connect", false, listOf("Where the domain may connect to.", maxEntries, str("Address.", connectPattern, connectHint))},
	key{"exports", false, listOf("Interfaces that the domain serves.", maxEntries, anyOf("An interface.",
		str("Full name of a service.", interfacePattern, interfaceHint),
		objectOf("An interface, with more to say.", append([]key{
			{"interface", true, str("Full name of a service.", interfacePattern, interfaceHint)},
			{"socket", false, str("Unix socket for programs outside Ward.", pathPattern, socketHint)}}, exportKeys...)...)))},
	key{"needs", false, listOf("Domains that are started before this one.", maxEntries, str("A domain.", namePattern, nameHint))},
	key{"ring", false, str("Ring of the domain; without it, the least trusted.", namePattern, nameHint)},
	key{"quota", false, quotaShape},
	key{"tmp", false, size("Size of the private /tmp, in bytes.", 4096, 1<<50)},
	key{"once", false, yesNo("The domain runs to its end; `ward up --until-done` waits for it.")},
	key{"restart", false, restartShape},
	key{"grace", false, graceShape},
	key{"notify", false, notifyShape},
	key{"template", false, templateShape},
	key{"lower_rings", false, lowerRingsShape},
	key{"children", false, childrenShape},
	key{"inherit", false, inheritShape},
	key{"roles", false, rolesOf("Roles of the domain.")},
	key{"label", false, labelShape},
	key{"bracket", false, bracketShape},
	key{"owner", false, str("User of the host whom the domain belongs to; without it, root.", userShape.pattern, userShape.hint)},
	key{"isolation", false, notYet("Isolation stronger than a process.")},
)

var accessShape = oneOf("Access.", "r", "w", "rw", "rx")
