# Every supported verb carries a `##` text; `make help` lists them.
#
# Variables of the user (SOURCE=it's.mp4) are in the environment of every recipe, and are read there:
# "$$SSH" is one word, whatever it contains, and the shell does not interpret it. make does: write $$
# for $. ARGS and CHECKS are words for the shell.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= /usr/bin/python3
export PYTHON
SUBMAKE = $(MAKE) --no-print-directory

.PHONY: help setup run test test-long test-fleet test-cameras test-system lint homeassistant load
.PHONY: screenshots bench bench-sources bench-web bench-peers model onnx cascade features
.PHONY: runtime runtime-tools runtime-measure test-runtime opencv deb lock clean
.PHONY: install flash deploy rollout image credentials provision test-image

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install all that `make test` needs; each verb installs its own
	@deploy/setup.sh test train runtime

# make passes Ctrl-C on and would then print an error of its own for the recipe's status.
run: ## show the daemon at work, and its page [SOURCE= MODEL= BROKER=host:port CONFIG= WEB=0]
	@deploy/setup.sh run $(if $(filter 0,$(WEB)),,web)
	@exec .venv/bin/python deploy/run.py "--source=$${SOURCE-}" "--model=$${MODEL-}" \
	  "--broker=$${BROKER-}" "--config=$${CONFIG-}" $(if $(filter 0,$(WEB)),,--web)

# Files run side by side, two for each core, the longest first (tests/conftest.py says which); the ten
# slowest tests are listed at the end. A test that hangs for twenty minutes ends its worker: it fails
# by name, and the others continue.
PYTEST = .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=10
HANGS = -o faulthandler_timeout=1200 -o faulthandler_exit_on_timeout=true
test: setup ## run the linters and all tests that need no virtual machine
	@$(SUBMAKE) lint
	@$(PYTEST) $(HANGS) $(ARGS)

test-long: ## the tests that take minutes: outages of the broker, fuzzing
	@deploy/setup.sh test
	@FUZZ=long $(PYTEST) -m 'long or fuzz' $(ARGS)

test-fleet: ## the consumer and the exporter of a fleet, with PostgreSQL and Prometheus
	@deploy/setup.sh store
	@$(PYTEST) tests/fleet $(ARGS)

test-cameras: ## V4L2 and libcamera themselves, in a virtual machine [CHECKS= OPTIONAL=1]
	@deploy/setup.sh dev
	@tests/vm/run.sh $(CHECKS)

SUITES ?= bookworm trixie
ARCHS ?= amd64 arm64
export SUITES ARCHS
test-system: ## test the package in booted Debians [SUITES="bookworm trixie" ARCHS="amd64 arm64"]
	@deploy/setup.sh dev flash system
	@tests/system/run.sh "$$SUITES" "$$ARCHS" $(ARGS)

lint: ## ruff, mypy --strict, shellcheck
	@deploy/setup.sh lint
	@.venv/bin/ruff check --quiet edge models deploy tests
	@.venv/bin/ruff format --quiet --check edge models deploy tests
	@.venv/bin/mypy --no-error-summary
	@shellcheck deploy/*.sh deploy/image/*.sh deploy/image/*/usr/lib/edge-image/* tests/vm/*.sh \
	  tests/system/*.sh .ci/run

homeassistant: ## does Home Assistant itself find the daemon? Python 3.13.2 or newer
	@deploy/setup.sh run homeassistant
	@.venv-homeassistant/bin/python -m pytest --noconftest -c /dev/null -p no:cacheprovider \
	  --rootdir tests/homeassistant -o asyncio_mode=auto -q tests/homeassistant/check_entities.py

load: ## many devices against a broker, and faults of it [BROKER=cluster ARGS='--devices 500']
	@deploy/setup.sh run $(if $(filter cluster,$(BROKER)),cluster)
	@.venv/bin/python deploy/load.py "--broker=$${BROKER-}" $(ARGS)

screenshots: ## take the pictures of docs/page.md, on the demo clip: 2 minutes
	@deploy/setup.sh browser
	@.venv/bin/python deploy/demo/screenshots.py

bench: ## measure speed and memory here [ARGS=]
	@deploy/setup.sh python
	@.venv/bin/python -m edge bench --naive $(ARGS)

bench-sources: ## what a frame of each source costs, up to the tensor [ARGS='--seconds 6']
	@deploy/setup.sh test
	@.venv/bin/python -m tests.measure_sources $(ARGS)

bench-web: ## what the web process costs, and what it costs the daemon [ARGS='--seconds 15']
	@deploy/setup.sh test
	@.venv/bin/python -m tests.measure_web $(ARGS)

bench-peers: ## this against other runtimes and loops, docs/performance.md [ARGS='--write']
	@deploy/setup.sh run dev peers measure
	@.venv/bin/python -m deploy.peers.measure $(ARGS)

STEP = .venv-train/bin/python -m
RECIPE = $(if $(DATA),"--data=$$DATA") $(if $(EXTRA),"--extra=$$EXTRA") \
  $(if $(WEIGHTS),"--weights=$$WEIGHTS") $(if $(TEACHER),"--teacher=$$TEACHER") \
  $(if $(BACKGROUND),"--background=$$BACKGROUND") $(if $(OUT),"--out=$$OUT")
BACKBONES ?= mobilenet lite0
model: ## train the shipped models [DATA= EXTRA= BACKGROUND= BACKBONES= WEIGHTS= TEACHER= OUT=]
	@deploy/setup.sh train
	$(STEP) models.dataset $(RECIPE)
	$(STEP) models.teacher $(RECIPE)
	for name in $(BACKBONES); do for step in train quantise export; do \
	  $(STEP) models.$$step --backbone $$name $(RECIPE); \
	done; done
	$(STEP) models.prune $(RECIPE)
	$(STEP) models.search $(RECIPE)
	for name in $(BACKBONES); do $(STEP) models.report --backbone $$name $(RECIPE); done

onnx: ## write the float network of `make model` as ONNX, for TensorRT [MODEL=catdog OUT=]
	@deploy/setup.sh train
	$(STEP) models.onnx $(if $(MODEL),"--model=$$MODEL") $(RECIPE)

COSTS = --cost-small 58 --cost-large 502 --unit "million multiplications"
cascade: ## what asking the large model where the small one is unsure gives [DATA= OUT=]
	@deploy/setup.sh train
	$(STEP) models.cascade $(COSTS) $(RECIPE)

features: ## build the models to teach with, and measure them [DATA= OUT=]
	@deploy/setup.sh train
	$(STEP) models.dataset $(RECIPE)
	for name in $(BACKBONES); do for step in features fewshot; do \
	  $(STEP) models.$$step --backbone $$name $(RECIPE); \
	done; done

RUNTIME = "$$PYTHON" -m deploy.runtime.build $(if $(ARCH),"--arch=$$ARCH") \
  $(if $(SOURCES),"--sources=$$SOURCES")
runtime: ## cross-build the Pi's TFLite [ARCH=arm64|armhf|amd64 PY=3.11|3.13 SOURCES=DIR]
	@$(RUNTIME) $(if $(PY),"--python=$$PY")

runtime-tools: ## cross-build its programs: benchmark_model, label_image [ARCH= SOURCES=]
	@$(RUNTIME) --tools

runtime-measure: ## count and model the cost of the runtimes; writes docs/runtime.md
	@deploy/setup.sh dev measure
	@.venv/bin/python -m deploy.runtime.measure --write $(ARGS)

test-runtime: ## test the Pi's TFLite, and packages, in an emulated Debian 12 and 13
	@deploy/setup.sh test runtime
	@.venv/bin/python -m pytest -m emulated -s tests $(ARGS)

opencv: ## cross-build the package's OpenCV and FFmpeg [ARCH=arm64|armhf|amd64 SOURCES=DIR]
	@deploy/setup.sh opencv
	@"$$PYTHON" -m deploy.opencv.build $(if $(ARCH),"--arch=$$ARCH") \
	  $(if $(SOURCES),"--sources=$$SOURCES")

# These two run on Debian's python3 only; -B, so that root leaves no bytecode in a user's clone.
flash: ## write SD cards, and read them back [DEVICE=/dev/sdX IMAGE= YES=1 CSV= COUNT=all AGAIN=NAME]
	@deploy/setup.sh flash
	@exec "$$PYTHON" -B -m deploy.sdcard.flash "--device=$${DEVICE-}" "--image=$${IMAGE-}" \
	  "--yes=$${YES-}" "--force=$${FORCE-}" "--serial=$${SERIAL-}" $(if $(CSV),"--csv=$$CSV") \
	  $(if $(AGAIN),"--again=$$AGAIN") $(if $(COUNT),"--count=$$COUNT")

# A variable that is given, also an empty one, is an option: WAVES= is refused in words. HOST and NAME
# count on the command line only: some shells and systems export variables of these names.
here = $(if $(filter command,$(origin $(1))),"--$(2)=$$$(1)")
given = $(if $(filter-out undefined default,$(origin $(1))),"--$(2)=$$$(1)")
IN_WAVES = $(call here,HOST,host) $(call given,SSH,ssh) $(call given,TIMEOUT,timeout) \
  $(call given,WAVES,waves) $(call given,PARALLEL,parallel) $(call given,SOAK,soak) \
  $(call given,LOOK,look) $(call given,FAILURES,failures) $(call given,GATES,gates) \
  $(call given,BACK,back) $(call here,NAME,name)
deploy: ## install the package on running Pis, over ssh [HOST='user@pi ...' or HOSTS=FILE DEB= SSH=]
	@deploy/setup.sh flash
	@exec "$$PYTHON" -B -m $(if $(call given,HOSTS,hosts),deploy.rollout package \
	  "--hosts=$$HOSTS" "--deb=$${DEB-}" $(IN_WAVES),deploy.remote "--hosts=$${HOST-}" \
	  "--deb=$${DEB-}" $(if $(SSH),"--ssh=$$SSH") $(if $(TIMEOUT),"--timeout=$$TIMEOUT"))

rollout: ## bring a model to running Pis, in waves [MODEL=DIR HOSTS=FILE SHADOW= WAVES= SOAK= GATES=]
	@deploy/setup.sh flash
	@exec "$$PYTHON" -B -m deploy.rollout model "--model=$${MODEL-}" "--hosts=$${HOSTS-}" \
	  $(call given,SHADOW,shadow) $(IN_WAVES)

deb: ## build the Debian package [ARCH= SUITE=bookworm|trixie WHEEL=FILE|pypi OPENCV=debian|pypi]
	@deploy/setup.sh package
	@"$$PYTHON" -m deploy.package.build $(if $(ARCH),"--arch=$$ARCH") \
	  $(if $(SUITE),"--suite=$$SUITE") $(if $(WHEEL),"--runtime=$$WHEEL") \
	  $(if $(OPENCV),"--opencv=$$OPENCV")

install: ## build the package for this machine and install it through apt [WHEEL=FILE OPENCV=]
	@exec deploy/install.sh "$${WHEEL-}" "$${OPENCV-}"

# The package for a suite, its runtime and its OpenCV, where build/dist has none of this version.
PYTHON_bookworm = 3.11
PYTHON_trixie = 3.13
VERSION = $(shell sed -n 's/^VERSION.*"\(.*\)"/\1/p' deploy/runtime/pins.py)
HAS_RUNTIME = \
  compgen -G 'build/dist/tflite_runtime-$(VERSION)-cp$(subst .,,$(1))-*_aarch64.whl' >/dev/null
RUNTIME_FOR = [ -z '$(1)' ] || $(HAS_RUNTIME) || \
  { deploy/setup.sh runtime; $(SUBMAKE) runtime ARCH=arm64 PY=$(1); }
VERSION_OPENCV = $(shell sed -n 's/^VERSION.*"\(.*\)"/\1/p' deploy/opencv/pack.py)
HAS_OPENCV = compgen -G 'build/dist/edge_opencv-$(VERSION_OPENCV)-*_aarch64.whl' >/dev/null
# Before anything is installed: can this machine build the runtime, where one has to be built?
CAN_BUILD = $(if $(DEB)$(WHEEL),,[ ! -x "$$PYTHON" ] || \
  { $(call HAS_RUNTIME,$(PYTHON_$(1))) && $(HAS_OPENCV); } || \
  "$$PYTHON" -B -m deploy.runtime.build --check)
# The program refuses another SUITE.
DEB_FOR = $(if $(DEB),,$(if $(WHEEL),,$(call RUNTIME_FOR,$(PYTHON_$(1)));) \
  $(if $(OPENCV),,$(HAS_OPENCV) || $(SUBMAKE) opencv ARCH=arm64;) $(SUBMAKE) deb ARCH=arm64 SUITE=$(1))
KNOWN = $(if $(SUITE),$(if $(filter bookworm,$(SUITE)),bookworm,$(if $(filter trixie,$(SUITE)),trixie)),trixie)
image: ## build an SD card image for the Pi 4B [SUITE=trixie|bookworm CONFIG=site.toml DEB=FILE FRESH=1]
	@$(if $(KNOWN),$(call CAN_BUILD,$(KNOWN)))
	@deploy/setup.sh python image
	@$(if $(KNOWN),$(call DEB_FOR,$(KNOWN)))
	@.venv/bin/python -m deploy.image.build $(if $(SUITE),"--suite=$$SUITE") \
	  $(if $(CONFIG),"--config=$$CONFIG") $(if $(DEB),"--deb=$$DEB") $(if $(FRESH),--fresh)

credentials: ## one for each device of a CSV [CSV= CONFIG= AUTH=certificate CA= REPLACE=NAME REVOKE=NAME]
	@deploy/setup.sh credentials
	@.venv/bin/python -m deploy.credentials.build "--csv=$${CSV-}" \
	  $(if $(CONFIG),"--config=$$CONFIG") $(if $(AUTH),"--auth=$$AUTH") $(if $(CA),"--ca=$$CA") \
	  $(if $(REPLACE),"--replace=$$REPLACE") $(if $(REVOKE),"--revoke=$$REVOKE")

provision: ## add the package to BASE=raspios-lite.img[.xz] [CONFIG=site.toml DEB=FILE]
	@deploy/setup.sh python image
	@.venv/bin/python -m deploy.image.provision "--base=$${BASE-}" \
	  $(if $(CONFIG),"--config=$$CONFIG") $(if $(DEB),"--deb=$$DEB")

test-image: ## build SD card images of both suites and boot them, emulated: an hour
	@$(call CAN_BUILD,trixie)
	@$(call CAN_BUILD,bookworm)
	@deploy/setup.sh run dev image
	@$(call DEB_FOR,trixie)
	@$(call DEB_FOR,bookworm)
	@.venv/bin/python -m pytest -m image -n 2 --dist loadfile -vv -rP tests/image $(ARGS)

lock: ## pin the newest versions that pyproject.toml allows, with their sizes
	@deploy/setup.sh dev
	@for name in dev run train web; do \
	  case $$name in \
	    run) part='-c deploy/lock/dev.txt' ;; \
	    web) part='-c deploy/lock/dev.txt --extra web' ;; \
	    *) part="--extra $$name" ;; \
	  esac; \
	  .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command 'make lock' $$part -o deploy/lock/$$name.txt pyproject.toml; \
	done
	@.venv/bin/uv pip compile --quiet --no-deps --python-version 3.13 \
	  --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
	  -c deploy/lock/dev.txt -o tests/vm/requirements.txt tests/vm/requirements.in
	@for file in package package-backend; do \
	  .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command 'make lock' -c deploy/lock/dev.txt \
	    -o deploy/lock/$$file.txt deploy/lock/$$file.in; \
	done
	@.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' -o deploy/lock/peers.txt deploy/lock/peers.in
	@.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' -c deploy/lock/dev.txt -c deploy/lock/web.txt \
	  -o deploy/lock/fleet.txt deploy/lock/fleet.in
	@.venv/bin/uv pip compile --quiet --upgrade --python-version 3.13.2 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' \
	  -o deploy/lock/homeassistant.txt deploy/lock/homeassistant.in
	@.venv/bin/python -m deploy.lock.weigh

clean: ## remove what was built and installed here
	@rm -rf build dist .venv .venv-train .venv-homeassistant .venv-fleet .mypy_cache .ruff_cache
