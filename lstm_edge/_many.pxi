# Part of _core.pyx: the call of many streams that many.py makes. The core starts no threads: these are Python's bare ones, which hold no
# lock of the interpreter and live no longer than the call, so that neither a fork nor the interpreter's end meets one.

from cpython.pythread cimport (NOWAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
                               PyThread_type_lock, WAIT_LOCK)

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_start_new_thread(void (*work)(void *) noexcept nogil, void *argument)

cdef enum:
    NO_THREAD = -1  # as unsigned long: what PyThread_start_new_thread returns when the system gives none

cdef struct Helper:
    le_many *many
    int thread
    PyThread_type_lock working  # held but when the thread has finished


cdef void help_out(void *given) noexcept nogil:
    cdef Helper *helper = <Helper *>given
    le_many_work(helper.many, helper.thread)
    PyThread_release_lock(helper.working)


cdef class Many:
    """What calls of step_many need for a model's streams of one batch, in up to so many threads. One call uses it at a time."""
    cdef le_many *c
    cdef readonly int64_t batch
    cdef readonly int threads
    cdef readonly bint windows  # whether a stream may answer otherwise than the others
    cdef readonly list shapes  # of one stream's outputs, windows full; None: never there
    cdef public object seen  # many.py: what the last call's frames looked like
    cdef Helper *helpers
    cdef le_stream **streams
    cdef void **items  # the Streams of a call, whose tuple keeps them
    cdef Py_ssize_t room

    def __cinit__(self, Model model not None, int64_t batch, int64_t frames, int threads):
        cdef le_error err
        cdef int64_t dims[LE_MAX_RANK]
        cdef int i
        with nogil:
            self.c = le_many_open(model.c, batch, frames, threads, &err)
        if self.c == NULL:
            raise_error(&err)
        self.batch, self.threads = batch, threads
        self.helpers = <Helper *>PyMem_Calloc(threads, sizeof(Helper))
        if self.helpers == NULL:
            raise MemoryError("a call of many streams")
        for i in range(threads):
            self.helpers[i].many, self.helpers[i].thread = self.c, i
            self.helpers[i].working = PyThread_allocate_lock()
            if self.helpers[i].working == NULL:
                raise MemoryError("a call of many streams")
            PyThread_acquire_lock(self.helpers[i].working, NOWAIT_LOCK)
        self.windows = any([le_model_port(model.c, LE_STATE, i).fill_axis >= 0 for i in range(len(model.states))])
        self.shapes = []
        for i in range(len(model.outputs)):
            rank = le_many_output_shape(self.c, i, dims)
            self.shapes.append(tuple([dims[d] for d in range(rank)]) if rank >= 0 else None)

    def __dealloc__(self):
        cdef int i
        le_many_close(self.c)
        if self.helpers != NULL:
            for i in range(self.threads):
                if self.helpers[i].working != NULL:
                    PyThread_free_lock(self.helpers[i].working)
        PyMem_Free(self.helpers)
        PyMem_Free(self.streams)
        PyMem_Free(self.items)

    def call(self, tuple items, list inputs, list outputs, int threads):
        """One step of every stream, on arrays (streams, ...) of the model's dtypes whose shapes the caller has checked; None: never there. In at most
        self.threads threads."""
        cdef le_error err
        cdef le_status status
        cdef Py_ssize_t taken = 0
        cdef list views = [None if a is None else memoryview(a) for a in inputs + outputs]
        cdef int n_inputs = len(inputs)
        cdef void **pointers = <void **>PyMem_Calloc(len(views) + 1, sizeof(void *))
        try:
            if pointers == NULL:
                raise MemoryError("a call of many streams")
            for i, view in enumerate(views):
                if view is not None:
                    pointers[i] = address_of(view)
            taken = self._take(items)
            with nogil:
                status = self.work(taken, threads if threads < self.threads else self.threads, <const void **>pointers, pointers + n_inputs, &err)
            if status != LE_OK:
                raise_error(&err)
        finally:
            PyMem_Free(pointers)
            self._release(taken)

    cdef le_status work(self, int64_t count, int threads, const void **inputs, void **outputs, le_error *err) noexcept nogil:
        """Threads that the system does not give are done without, to the same bits."""
        cdef int i, started = 1
        cdef le_status status = le_many_begin(self.c, count, self.streams, inputs, outputs, err)
        if status != LE_OK:
            return status
        while started < threads and PyThread_start_new_thread(help_out, &self.helpers[started]) != <unsigned long>NO_THREAD:
            started += 1
        le_many_work(self.c, 0)
        for i in range(1, started):
            PyThread_acquire_lock(self.helpers[i].working, WAIT_LOCK)
        return le_many_end(self.c, err)

    cdef Py_ssize_t _take(self, tuple items) except -1:
        """Marks all streams as busy, or none."""
        cdef Py_ssize_t taken = 0
        cdef Stream stream, first = items[0]
        self._reserve(len(items))
        try:
            for item in items:
                if not isinstance(item, Stream) or (<Stream>item).model is not first.model or (<Stream>item).batch != first.batch \
                        or (<Stream>item).busy:
                    raise ShapeError(f"stream {taken}: {refusal(items, taken)}")
                stream = <Stream>item
                if stream.bounded:
                    try:
                        stream._check_count(stream.multiple)
                    except ShapeError as why:
                        raise ShapeError(f"stream {taken}: {why}") from None
                stream.busy = True
                self.streams[taken], self.items[taken] = stream.c, <void *>stream
                taken += 1
        except BaseException:
            self._release(taken)
            raise
        return taken

    cdef _reserve(self, Py_ssize_t count):
        if count <= self.room:
            return
        self.room = 0
        PyMem_Free(self.streams)
        PyMem_Free(self.items)
        self.streams = <le_stream **>PyMem_Calloc(count, sizeof(le_stream *))
        self.items = <void **>PyMem_Calloc(count, sizeof(void *))
        if self.streams == NULL or self.items == NULL:
            raise MemoryError(f"a call of {count} streams")
        self.room = count

    cdef void _release(self, Py_ssize_t taken):
        cdef Py_ssize_t i
        for i in range(taken):
            (<Stream>self.items[i]).busy = False

    def shape_alone(self, Py_ssize_t index, Stream stream not None, int output):
        """The shape of what stream `index` of the last call answered; None where it did not."""
        cdef int64_t dims[LE_MAX_RANK]
        if not 0 <= index < self.room or not 0 <= output < len(self.shapes):
            raise IndexError(f"stream {index}, output {output}: expected those of the call before")
        if not le_many_alone(self.c, index):
            return self.shapes[output]
        rank = le_stream_output_shape(stream.c, output, dims)
        shape = tuple([dims[d] for d in range(rank)]) if rank >= 0 else None
        return None if shape is None or 0 in shape else shape

    def remember(self, tuple items, tuple kept):
        """What _remember_newest does for one stream, for those of the call before: lists of all inputs' and outputs' arrays, which serve all until one is asked."""
        cdef Py_ssize_t row
        cdef Stream stream
        for row in range(len(items)):
            stream = <Stream?>items[row]
            stream.counted += stream.multiple
            if stream.remembers:
                stream.newest_of, stream.newest_row, stream.started = kept, row, True


cdef refusal(tuple items, Py_ssize_t index):
    cdef Stream first = items[0]
    item = items[index]
    if not isinstance(item, Stream):
        return f"expected a Stream, found {type(item).__name__}"
    if (<Stream>item).model is not first.model:
        return f"expected one of the model of stream 0, found one of another model, with inputs {[p.name for p in (<Stream>item).model.inputs]}"
    if (<Stream>item).batch != first.batch:
        return f"expected batch {first.batch}, as stream 0 has, found {(<Stream>item).batch}"
    before = [i for i in range(index) if items[i] is item]
    return f"expected each stream once, found stream {before[0]} again" if before else "another thread is running it"
