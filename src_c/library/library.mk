# make lib: build/lib/liblstm_edge.a and .so for programs in C and C++; make abi: what the .so promises beside what is written down here.
# The same as CMakeLists.txt makes, without installing it. Another compiler: CC=clang, CC="gcc -m32", LIB_BUILD=a folder of its own.

LIB_BUILD ?= build/lib
# Two numbers stand in the name of a shared library: programs find the one that they were linked with.
LIB_VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
LIB_SONAME := liblstm_edge.so.$(word 1,$(subst ., ,$(LIB_VERSION))).$(word 2,$(subst ., ,$(LIB_VERSION)))
LIB_MAP := src_c/library/exports.map
LIB_ABI := src_c/library/abi.xml
# What stands in src_c itself has the functions of lstm_edge.h: it is compiled once for each library, as only one of them shows them.
LIB_FRONT := $(wildcard src_c/*.c src_c/library/*.c)
LIB_BACK := $(patsubst src_c/%.c,$(LIB_BUILD)/back/%.o,$(wildcard src_c/ops/*.c src_c/kernels/*.c))
LIB_STATIC := $(LIB_FRONT:src_c/%.c=$(LIB_BUILD)/static/%.o) $(LIB_BACK)
LIB_SHARED := $(LIB_FRONT:src_c/%.c=$(LIB_BUILD)/shared/%.o) $(LIB_BACK)
GUARD_FLAGS = $(if $(filter $(notdir $*),$(GUARDED_FILES)),$(if $(filter __MINGW32__,$(MACROS)),,$(GUARD_FLAGS_$(ARCH))))
LIB_FLAGS = $(C_FLAGS) $(C_FLAGS_$(ARCH)) $(if $(filter __MINGW32__,$(MACROS)),$(C_FLAGS_mingw),-fPIC) $(TARGET_FLAGS) $(C_WARNINGS) $(GUARD_FLAGS) $(FILE_FLAGS) -Isrc_c

.PHONY: lib abi abi-write
lib: $(LIB_BUILD)/liblstm_edge.a $(LIB_BUILD)/liblstm_edge.so

$(LIB_BUILD)/back/%.o $(LIB_BUILD)/static/%.o: src_c/%.c $(C_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(LIB_FLAGS) -c $< -o $@

$(LIB_BUILD)/shared/%.o: src_c/%.c $(C_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(LIB_FLAGS) -DLE_BUILD_SHARED -g -c $< -o $@

$(LIB_BUILD)/liblstm_edge.a: $(LIB_STATIC)
	rm -f $@ && $(AR) rcs $@ $^

$(LIB_BUILD)/$(LIB_SONAME): $(LIB_SHARED) $(LIB_MAP)
	$(CC) $(TARGET_FLAGS) -shared -Wl,-soname,$(LIB_SONAME) -Wl,--version-script=$(LIB_MAP) -Wl,--no-undefined $(LIB_SHARED) -lm -o $@

$(LIB_BUILD)/liblstm_edge.so: $(LIB_BUILD)/$(LIB_SONAME)
	ln -sf $(<F) $@

# Types and functions beside those written down (libabigail): additions are no fault, changes and removals are. `make abi-write` writes them down anew.
ABI_TOOLS := apt install abigail-tools
abi: $(LIB_BUILD)/$(LIB_SONAME)
	@command -v abidiff >/dev/null || { echo "abi: expected abidiff: $(ABI_TOOLS)"; exit 1; }
	@mkdir -p $(LIB_BUILD)/include && cp src_c/lstm_edge.h $(LIB_BUILD)/include
	abidiff --no-added-syms --headers-dir2 $(LIB_BUILD)/include $(LIB_ABI) $<

abi-write: $(LIB_BUILD)/$(LIB_SONAME)
	@mkdir -p $(LIB_BUILD)/include && cp src_c/lstm_edge.h $(LIB_BUILD)/include
	abidw --no-comp-dir-path --no-corpus-path --no-show-locs --headers-dir $(LIB_BUILD)/include --drop-private-types --out-file $(LIB_ABI) $<
