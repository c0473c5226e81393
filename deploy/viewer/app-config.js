// OHIF for readers: one archive, on the same origin, read and written by DICOMweb.

// The address of a study may name an image by its SOP Instance UID (`image`) and a SegmentNumber (`segment`): when our
// SEG is loaded for editing, that image is shown and that segment is the one that is painted. OHIF's own
// `initialSopInstanceUID` shows the image without the SEG. OHIF sets up a SEG in several steps, each of which may
// show another image, so each is followed; from the reader's first act on, nothing is.
const openAt = enter =>
  function (context) {
    const entered = enter.call(this, context);
    const asked = new URLSearchParams(window.location.search);
    const [image, segment] = [asked.get('image'), Number(asked.get('segment'))];
    const { segmentationService } = context.servicesManager.services;
    const { unsubscribe } = segmentationService.subscribe(
      segmentationService.EVENTS.SEGMENTATION_REPRESENTATION_MODIFIED,
      ({ segmentationId }) => {
        if (segment > 0) {
          segmentationService.setActiveSegment(segmentationId, segment);
        }
        for (const { viewport } of window.cornerstone.getEnabledElements()) {
          const index = viewport.getImageIds().findIndex(id => id.includes(`/instances/${image}/`));
          if (index >= 0) {
            viewport.setImageIdIndex(index);
          }
        }
      }
    );
    for (const act of ['pointerdown', 'wheel', 'keydown']) {
      window.addEventListener(act, unsubscribe, { capture: true, once: true });
    }
    return entered;
  };

// The page that opened this window is told that something happens here, and never what: it keeps the study reserved.
const TELL_EVERY_MS = 5000;
let toldAt = 0;
for (const act of ['pointerdown', 'pointermove', 'wheel', 'keydown']) {
  window.addEventListener(
    act,
    () => {
      if (window.opener && Date.now() - toldAt > TELL_EVERY_MS) {
        toldAt = Date.now();
        window.opener.postMessage('organloop-viewer-act', '*');
      }
    },
    { capture: true, passive: true }
  );
}

window.config = {
  name: 'organloop',
  routerBasename: '/',
  extensions: [],
  modes: [],
  showStudyList: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  investigationalUseDialog: { option: 'never' },
  disableConfirmationPrompts: true,
  modesConfiguration: { '@ohif/mode-segmentation': { onModeEnter: { $apply: openAt } } },
  // OHIF counts volumes some time after a segment was changed or deleted, then puts back the list of segments as it was
  // when the count began: a segment that was added meanwhile is lost, and nothing says so.
  customizationService: [{ 'panelSegmentation.disableUpdateSegmentationStats': { $set: true } }],
  defaultDataSourceName: 'archive',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
      configuration: {
        friendlyName: 'Archive',
        name: 'archive',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        stowRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsStow: true,
        singlepart: 'bulkdata,video',
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
